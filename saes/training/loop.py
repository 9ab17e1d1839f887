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

from interp.errors import InputError, StorageError
from interp.runs import progress
from saes.activations.streams import State, Stream
from saes.training.checkpoints import check_room, load_checkpoint, save_checkpoint
from saes.training.interruption import Interruption
from saes.training.schedules import Schedule
from saes.training.settings import FitSettings
from saes.training.trainee import Trainee

_LOG = logging.getLogger("saes")
CHECKPOINTS = "checkpoints"

Report = Callable[[int, str, dict[str, float]], None]
"""Told of a dictionary's numbers: (steps done, its name, numbers)."""
Evaluate = Callable[[Trainee], dict[str, float]]


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

    @staticmethod
    def of(settings: FitSettings) -> Loop:
        """The loop that a training's settings ask for."""
        s = settings
        return Loop(s.n_steps, s.batch_size, s.schedule, s.log_every, s.evaluate_every, s.checkpoint_minutes)

    def is_last(self, done: int) -> bool:
        """Whether so many steps are all."""
        return done == self.n_steps

    def reports_at(self, done: int) -> bool:
        """Whether numbers are read after so many steps."""
        return done % self.log_every == 0 or self.is_last(done)

    def evaluates_at(self, done: int) -> bool:
        """Whether dictionaries are measured on held-out activations after so many steps."""
        return self.is_last(done) or (self.evaluate_every > 0 and done % self.evaluate_every == 0)


def run_loop(
    trainees: Sequence[Trainee],
    stream: Stream,
    loop: Loop,
    directory: Path | None,
    *,
    report: Report,
    evaluate: Evaluate | None = None,
) -> None:
    """Train all dictionaries over one pass of the stream, from the newest checkpoint in `directory` where there is one.

    directory: where checkpoints go (None: none are written, and nothing can be resumed). Raises KeyboardInterrupt after
    storing a checkpoint when asked to stop, InputError when a loss is no longer a number, StorageError when the disk
    has no room for checkpoints; a disk that fills up on the way does not end the training before its end.
    """
    folder = None if directory is None else directory / CHECKPOINTS
    start = 0 if folder is None else _begin(folder, trainees, stream)
    keeper = _Keeper(folder, loop, trainees, stream)
    began = time.monotonic()
    with progress((loop.n_steps - start) * loop.batch_size, _names(trainees)) as bar, Interruption() as interruption:
        for step in range(start, loop.n_steps):
            batch = stream.next_batch(loop.batch_size)
            for trainee in trainees:
                trainee.step(batch[trainee.site], loop.schedule, step, loop.n_steps)
            done = step + 1
            if loop.reports_at(done):
                speed = (done - start) * loop.batch_size / (time.monotonic() - began)
                bar.note = _report(trainees, done, speed, report)
            bar.advance(loop.batch_size)
            if evaluate and loop.evaluates_at(done):
                for trainee in trainees:
                    report(done, trainee.name, evaluate(trainee))
            keeper.keep(done, must=interruption.asked or loop.is_last(done))
            if interruption.asked and not loop.is_last(done):
                kept = f"; the same call goes on from {folder}" if folder is not None else ""
                raise KeyboardInterrupt(f"stopped after step {done} of {loop.n_steps}{kept}")


class _Keeper:
    """Writes checkpoints when they are due."""

    def __init__(self, folder: Path | None, loop: Loop, trainees: Sequence[Trainee], stream: Stream) -> None:
        self.folder, self.minutes, self.trainees, self.stream = folder, loop.checkpoint_minutes, trainees, stream
        self.saved = time.monotonic()

    def keep(self, done: int, must: bool) -> None:
        """Write a checkpoint if one is due, or in any case. Only then is a refusing disk an error."""
        due = time.monotonic() - self.saved > 60 * self.minutes
        if self.folder is None or not (due or must):
            return
        for trainee in self.trainees:
            trainee.check()  # a checkpoint never holds what is no number
        self.saved = time.monotonic()
        try:
            save_checkpoint(self.folder, done, *_state(self.trainees, self.stream))
        except StorageError as error:
            if must:
                raise
            _LOG.warning("%s; training goes on, and tries again in %g minutes", error, self.minutes)


def _names(trainees: Sequence[Trainee]) -> str:
    return trainees[0].name if len(trainees) == 1 else f"{len(trainees)} dictionaries"


def _report(trainees: Sequence[Trainee], done: int, speed: float, report: Report) -> str:
    """Read all numbers and pass them on; returns them in a few words, from the smallest to the largest."""
    every = []
    for trainee in trainees:
        numbers = trainee.numbers() | {"tokens_per_second": round(speed, 1)}
        report(done, trainee.name, numbers)
        every.append(numbers)
    told = {name: _range([numbers.get(name, 0.0) for numbers in every], form) for name, form in _FORMS.items()}
    return (
        f"loss {told['loss']}, L0 {told['l0']}, explained variance {told['explained_variance']}, "
        f"dead {told['dead']}, {speed:,.0f} tokens/s"
    )


_FORMS = {"loss": ".4g", "l0": ".3g", "explained_variance": ".3f", "dead": ".1%"}


def _range(numbers: Sequence[float], form: str) -> str:
    """One number, or the smallest and the largest of several dictionaries."""
    low, high = f"{min(numbers):{form}}", f"{max(numbers):{form}}"
    return low if low == high else f"{low} to {high}"


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


def _begin(folder: Path, trainees: Sequence[Trainee], stream: Stream) -> int:
    """Put everything back to the newest checkpoint; returns the number of steps done."""
    found = load_checkpoint(folder)
    if found is None:
        check_room(folder, _state(trainees, stream)[0])
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
