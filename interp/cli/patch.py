"""Find where the information is: patch one activation at a time between clean and corrupt prompts.

Try:
    interp patch --over z --by layer head               which heads carry it
    interp patch --over resid_pre --by layer role       at which token it is
    interp patch --task docstring --corruption random_doc
    interp patch --task ioi --task-options order=ABBA
    interp patch --task capitals.jsonl --by layer role  your own prompt pairs
    interp patch --model toy/induction --task toy       without tokenizer

A file of your own pairs has one JSON object a line. For example, capitals.jsonl, where "country" becomes a named
position (a role) beside "end", the last token; here its two lines are broken for reading:
    {"clean": "The capital of France is", "corrupt": "The capital of Italy is",
     "answer": " Paris", "distractor": " Rome",
     "positions": {"country": "France"},
     "corrupt_positions": {"country": "Italy"}}
    {"clean": "I like Japan. Its capital is",
     "corrupt": "I like Egypt. Its capital is",
     "answer": [" Tokyo"], "distractor": [" Cairo", " Rome"],
     "positions": {"country": 2}}

A position is a text that occurs once in the clean prompt (its last token counts), ["is", 2] for its second
occurrence, or the number of a token, counted from 0, or from -1 at the end; a BOS does not count. The corrupt prompt's
positions are the same tokens where the prompts are equally long, unless "corrupt_positions" says otherwise. All lines
name the same positions. Answers keep their leading space; a list is a set of answers. Optional: "group".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rich.console import Console

from interp import patching
from interp.cli.answering import answering, named_heads
from interp.cli.tasking import MetricOptions, choose_task


@dataclass(frozen=True)
class Config(MetricOptions):
    """Options of `interp patch`."""

    over: str = "z"
    """What is patched: resid_pre, resid_mid, attn_out, mlp_out, z (what a head mixes), q, k, v or pattern."""
    by: tuple[str, ...] = ("layer", "head")
    """Axes of the answer, any of: layer, head, position (prompts of one length), role (named positions)."""
    direction: Literal["denoise", "noise"] = "denoise"
    """denoise moves clean activations into corrupt prompts, noise the other way."""
    top: int = 10
    """Rows of the printed table."""


def main(config: Config, console: Console | None = None) -> int:
    """Sweep, print the largest effects, keep everything in a run."""
    with answering("patch", config, title=f"Activation patching: {config.over} on {config.task}", console=console) as a:
        task = choose_task(a, config)
        result = a.step("sweep", lambda: patching.sweep(a.model, task, config.over, config.by, config.direction))
        size = f"{len(task)} pairs, m(clean) - m(corrupt) = {result.difference:.2f} {task.metric.unit}"
        title = f"largest effects of patching {config.over} ({config.direction}; {size})"
        a.show(named_heads(result.top(config.top)), title)
        if result.settings["note"]:
            a.say(f"note: {result.settings['note']}")
    return 0
