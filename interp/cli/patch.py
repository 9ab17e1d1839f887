"""Find where the information is: patch one activation at a time between clean and corrupt prompts.

interp patch --over z --by layer head                        which heads carry it
interp patch --over resid_pre --by layer role --n 16         at which token it is, layer by layer
interp patch --task mine.jsonl --direction noise             your own prompt pairs, the other direction
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rich.console import Console

from interp import patching
from interp.cli.answering import Options, answering
from interp.cli.tasking import make_task


@dataclass(frozen=True)
class Config(Options):
    """Options of `interp patch`."""

    task: str = "ioi"
    """ioi, induction, repeated-text, toy (for toy/ models), or a .jsonl file of your own prompt pairs."""
    n: int = 16
    """Prompt pairs."""
    over: str = "z"
    """What is patched: resid_pre, resid_mid, attn_out, mlp_out, z, q, k, v or pattern."""
    by: tuple[str, ...] = ("layer", "head")
    """Axes of the answer, any of: layer, head, position (prompts of one length), role (named positions)."""
    direction: Literal["denoise", "noise"] = "denoise"
    """denoise moves clean activations into corrupt prompts, noise the other way."""
    metric: str | None = None
    """logit_difference, probability_difference, answer_rank, accuracy, loss, kl_to_clean (default: the task's own)."""
    corruption: str = "abc"
    """Of the ioi task: abc (three other names), s2 (the answer flips) or io (the answer is removed)."""
    bos: bool = False
    """Begin every prompt with the BOS token."""
    top: int = 10
    """Rows of the printed table."""


def main(config: Config, console: Console | None = None) -> int:
    """Sweep, print the largest effects, keep everything in a run."""
    with answering("patch", config, title=f"Activation patching: {config.over} on {config.task}", console=console) as a:
        task = make_task(a.model, config.task, config.n, config.seed, corruption=config.corruption, bos=config.bos)
        options = {"model": a.model} if config.metric == "kl_to_clean" else {}
        scored = task if config.metric is None else task.with_metric(config.metric, **options)
        result = a.step("sweep", lambda: patching.sweep(a.model, scored, config.over, config.by, config.direction))
        size = f"{len(task)} pairs, m(clean) - m(corrupt) = {result.difference:.2f} {scored.metric.unit}"
        a.show(result.top(config.top), f"largest effects of patching {config.over} ({config.direction}; {size})")
    return 0
