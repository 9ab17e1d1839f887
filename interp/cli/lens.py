"""Read predictions layer by layer, and see which parts of the model write them.

interp lens --task ioi                                              the task's logit difference, layer by layer
interp lens "The Eiffel Tower is in the city of" --target " Paris"  one prompt of your own
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
import tyro
from rich.console import Console

from interp import lens
from interp.cli.answering import Answer, Options, answering
from interp.cli.tasking import make_task
from interp.cli.texts import quoted, read_text
from interp.errors import InputError
from interp.lens import Attribution, LogitLens
from interp.models.tokens import to_strings

ROWS = 12
"""Layers of the printed table."""


@dataclass(frozen=True)
class Config(Options):
    """Options of `interp lens`."""

    text: tyro.conf.Positional[str] = ""
    """A prompt, or a file that ends in .txt; leave it out to use a task."""
    task: str = "ioi"
    """Without a text: ioi, induction, repeated-text, toy (for toy/ models), or a .jsonl file of your own pairs."""
    n: int = 32
    """Prompts of the task."""
    target: str = ""
    """With a text: the token to follow, with its leading space; default: the model's own prediction."""
    distractor: str = ""
    """With a text: the token to compare with; default: the mean over the vocabulary."""
    corruption: str = "abc"
    """Of the ioi task; the lens reads its clean prompts only."""
    bos: bool = False
    """Begin every prompt with the BOS token."""
    mid: bool = False
    """Also read between attention and MLP."""
    top: int = 8
    """Rows of the printed tables."""


def main(config: Config, console: Console | None = None) -> int:
    """Run the logit lens and direct attribution, print both in short, keep everything in a run."""
    if not config.text and (config.target or config.distractor):
        raise InputError("target and distractor are of a text; a task brings its own answers")
    title = "Logit lens and direct attribution"
    with answering("lens", config, title=f"{title}: {config.text or config.task}", console=console) as a:
        prompts: Any
        if config.text:
            prompts = read_text(config.text)
        else:
            prompts = make_task(
                a.model, config.task, config.n, config.seed, corruption=config.corruption, bos=config.bos
            )
        asked = [token for token in (config.target, config.distractor) if token] or None
        bos = {"prepend_bos": config.bos and bool(config.text)}
        layers = a.step("lens", lambda: lens.logit_lens(a.model, prompts, targets=asked, mid=config.mid, **bos))
        a.show(_by_layer(a, layers), "if the model ended at each layer" + " (p: geometric mean)" * (not config.text))
        question = {"target": config.target or None, "distractor": config.distractor or None, **bos}
        attribute = partial(lens.direct_attribution, a.model, prompts, **question)
        for by in ("component", "head"):
            _show_attribution(a, a.step(by, partial(attribute, by=by)), by, config.top)
        sources = a.step("source", partial(attribute, by="source"))
        a.say(f"all parts together: {float(sources.values['total'].data):.2f} logits")
    return 0


def _by_layer(answer: Answer, found: LogitLens) -> pd.DataFrame:
    """One row for each of a dozen layers, at the last position."""
    values = found.values
    labels = values["log_prob"].axis("layer").labels
    step = -(-len(labels) // ROWS)
    shown = [i for i in range(len(labels)) if (len(labels) - 1 - i) % step == 0]
    rows: dict[str, list[Any]] = {"layer": [str(labels[i]) for i in shown]}
    if "logit_difference" in values:
        rows["difference"] = [float(values["logit_difference"].data[i]) for i in shown]
    last = {name: _last_position(values[name]) for name in ("log_prob", "rank", "top_ids")}
    for column, target in enumerate(values["log_prob"].axis("target").labels):
        name = str(target) if target in ("answer", "distractor", "prediction") else quoted(str(target))
        rows[f"p({name})"] = [float(last["log_prob"].data[i, column].exp()) for i in shown]
        rows[f"rank {name}"] = [int(last["rank"].data[i, column]) for i in shown]
    if "example" not in last["top_ids"].dims:
        best = to_strings(answer.model, last["top_ids"].data[shown, 0])
        rows["top token"] = [quoted(token) for token in best]
    return pd.DataFrame(rows)


def _last_position(values: Any) -> Any:
    return values.sel(position=values.axis("position").labels[-1]) if "position" in values.dims else values


def _show_attribution(answer: Answer, found: Attribution, by: str, n: int) -> None:
    best = found.top(n)
    if by == "head":
        best.insert(0, "name", [f"{layer}.{head}" for layer, head in zip(best.pop("layer"), best.pop("head"))])
        best = best.rename(columns={"name": "head"})
    answer.show(best, f"what each {by} writes")
