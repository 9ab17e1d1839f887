"""The training loop: batches from a stream, a step of every dictionary, numbers now and then, checkpoints.

Whatever ends the process, the next one goes on from the newest checkpoint and computes the same bits: all that decides
a step is in the checkpoint, or follows from the seed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from interp.errors import InputError
from interp.runs import progress
from saes.activations.streams import State, Stream
from saes.training.checkpoints import load_checkpoint, save_checkpoint
from saes.training.interruption import Interruption
from saes.training.schedules import Schedule
from saes.training.trainee import Trainee

_LOG = logging.getLogger("saes")
CHECKPOINTS = "checkpoints"

Report = Callable[[int, str, dict[str, float]], None]
"""Told of a dictionary's numbers: (steps done, its name, numbers)."""


@dataclass(frozen=True)
class Loop:
    """How long, in what portions, and what is done beside the steps."""

    n_steps: int
    """Steps in all."""
    batch_size: int
    """Tokens a step."""
    schedule: Schedule
    """Learning rate and the like, by step."""
    log_every: int = 50
    """Steps between two lines of the log."""
    evaluate_every: int = 0
    """Steps between two evaluations on held-out activations (0: at the end only)."""
    checkpoint_minutes: float = 5.0
    """Minutes between two checkpoints; one is also written when the training is interrupted and when it ends."""


def run_loop(
    trainees: Sequence[Trainee],
    stream: Stream,
    loop: Loop,
    directory: Path | None,
    *,
    report: Report,
    evaluate: Callable[[Trainee], dict[str, float]] | None = None,
) -> None:
    """Train all dictionaries over one pass of the stream, from the newest checkpoint in `directory` where there is one.

    directory: where checkpoints go (None: none are written, and nothing can be resumed). Raises KeyboardInterrupt after
    storing a checkpoint when asked to stop, InputError when a loss is no longer a number.
    """
    folder = None if directory is None else directory / CHECKPOINTS
    start = 0 if folder is None else _resume(folder, trainees, stream)
    saved = time.monotonic()
    with progress((loop.n_steps - start) * loop.batch_size, _names(trainees)) as bar, Interruption() as interruption:
        for step in range(start, loop.n_steps):
            batch = stream.next_batch(loop.batch_size)
            for trainee in trainees:
                trainee.step(batch[trainee.site], loop.schedule, step, loop.n_steps)
            bar.advance(loop.batch_size)
            done = step + 1
            if done % loop.log_every == 0 or done == loop.n_steps:
                _report(trainees, done, report)
            if evaluate and (done == loop.n_steps or (loop.evaluate_every and done % loop.evaluate_every == 0)):
                for trainee in trainees:
                    report(done, trainee.name, evaluate(trainee))
            due = time.monotonic() - saved > 60 * loop.checkpoint_minutes
            if folder is not None and (due or interruption.asked or done == loop.n_steps):
                for trainee in trainees:
                    trainee.check()  # a checkpoint never holds what is no number
                save_checkpoint(folder, done, *_state(trainees, stream))
                saved = time.monotonic()
            if interruption.asked and done < loop.n_steps:
                kept = f"; the same call goes on from {folder}" if folder is not None else ""
                raise KeyboardInterrupt(f"stopped after step {done} of {loop.n_steps}{kept}")


def _names(trainees: Sequence[Trainee]) -> str:
    return trainees[0].name if len(trainees) == 1 else f"{len(trainees)} dictionaries"


def _report(trainees: Sequence[Trainee], done: int, report: Report) -> None:
    for trainee in trainees:
        report(done, trainee.name, trainee.numbers())


def _state(trainees: Sequence[Trainee], stream: Stream) -> State:
    tensors: dict[str, Tensor] = {}
    plain: dict[str, Any] = {}
    for name, (its_tensors, its_plain) in {
        **{trainee.name: trainee.state() for trainee in trainees},
        "stream": stream.state(),
    }.items():
        tensors |= {f"{name}/{key}": value for key, value in its_tensors.items()}
        plain[name] = its_plain
    return tensors, {"parts": plain}


def _resume(folder: Path, trainees: Sequence[Trainee], stream: Stream) -> int:
    """Put everything back to the newest checkpoint; returns the number of steps done."""
    found = load_checkpoint(folder)
    if found is None:
        return 0
    tensors, plain = found
    parts: dict[str, Any] = plain["parts"]
    if set(parts) != {trainee.name for trainee in trainees} | {"stream"}:
        raise InputError(f"{folder} belongs to other dictionaries ({', '.join(parts)}); use another directory")
    _same_threads(int(plain["threads"]))
    named: dict[str, Trainee | Stream] = {trainee.name: trainee for trainee in trainees}
    for name, part in {**named, "stream": stream}.items():
        own = {key.removeprefix(f"{name}/"): value for key, value in tensors.items() if key.startswith(f"{name}/")}
        part.restore(own, parts[name])
    _LOG.warning("going on from step %d, stored in %s", plain["step"], folder)
    return int(plain["step"])


def _same_threads(threads: int) -> None:
    """Sums depend on how many threads share them, so a resumed training uses as many as before."""
    if torch.get_num_threads() != threads:
        _LOG.warning("using %d threads as before (this process had %d)", threads, torch.get_num_threads())
        torch.set_num_threads(threads)
