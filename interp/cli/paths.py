"""Find which heads send the information to which: path patching (Wang et al. 2022), one sending head at a time.

Try:
    interp paths                                     who moves the logits
    interp paths --receivers 23.3.q --positions end  who moves what it looks for
    interp paths --receivers 20.1.v 21.0.v --positions S2
    interp paths --receivers 18.6.k --senders 16.0 --mlps freeze
    interp paths --model toy/induction --task toy --receivers 1.0.k

The sender's output is replaced, all other heads are held, and what the receivers then read is put into an otherwise
untouched run. Effects have the sign of `interp patch`: positive where the path carries what makes the clean run clean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rich.console import Console

from interp import patching
from interp.cli.answering import Several, answering, named_heads
from interp.cli.tasking import MetricOptions, choose_task
from interp.errors import InputError


@dataclass(frozen=True)
class Config(MetricOptions):
    """Options of `interp paths`."""

    receivers: tuple[str, ...] = ("logits",)
    """logits, or queries, keys or values of heads, as 23.3.q, which receive together;
    a23.kv1.k stands for the keys of all heads that share group 1."""
    senders: Several[str] = ()
    """Heads that send, as 16.0 (default: every head before the last receiver)."""
    positions: Several[str] = ()
    """Where receivers read something new: positions of the task (end, S2, ...), or numbers (default: all)."""
    direction: Literal["noise", "denoise"] = "noise"
    """noise sends the corrupt run's output into clean prompts, as in the paper; denoise the other way."""
    mlps: Literal["recompute", "freeze"] = "recompute"
    """recompute: paths through MLPs count, as in the paper; freeze: direct paths only."""
    top: int = 10
    """Rows of the printed table."""


def main(config: Config, console: Console | None = None) -> int:
    """Patch every path, print the largest effects, keep everything in a run."""
    into = ", ".join(config.receivers)
    with answering("paths", config, title=f"Paths into {into} on {config.task}", console=console) as a:
        task = choose_task(a, config)
        result = a.step(
            "paths",
            lambda: patching.path_effects(
                a.model,
                task,
                config.receivers,
                senders=config.senders or None,
                direction=config.direction,
                mlps=config.mlps,
                positions=_positions(config.positions),
            ),
        )
        size = f"{len(task)} pairs, m(clean) - m(corrupt) = {result.difference:.2f} {task.metric.unit}"
        a.show(named_heads(result.top(config.top)), f"paths into {into} ({config.direction}; {size})")
    return 0


def _positions(given: tuple[str, ...]) -> list[str] | list[int] | None:
    """Names of positions, or numbers (the same in every prompt)."""
    numbers = [item for item in given if item.removeprefix("-").isdigit()]
    if numbers and len(numbers) < len(given):
        raise InputError(f"positions are all names or all numbers, not both: {', '.join(given)}")
    return [int(item) for item in numbers] or list(given) or None
