"""Read predictions layer by layer, and see which parts of the model write them.

Try:
    interp lens --task ioi
    interp lens "The Eiffel Tower is in the city of" --target " Paris"
    interp lens --task capitals.jsonl --mid
    interp lens --model toy/induction --task toy     a model without tokenizer

Layer L of the lens is the residual stream that enters block L: 0 is the embedding, "3 mid" the stream between
attention and MLP of block 3, and the last row what the model puts out. So the step from row L to row L + 1 is what
block L wrote. In the tables of what heads and components write, 3.5 is head 5 of block 3, a3 and m3 are its attention
and its MLP.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import pandas as pd
import tyro
from rich.console import Console

from interp import lens
from interp.cli.answering import Answer, Maybe, answering, named_heads
from interp.cli.tasking import TaskOptions, choose_task
from interp.cli.texts import missing_space, quoted, read_prompt, read_token
from interp.errors import InputError
from interp.lens import Attribution, LogitLens
from interp.models.tokens import to_strings

ROWS = 12
"""Layers of the printed table."""


@dataclass(frozen=True)
class Config(TaskOptions):
    """Options of `interp lens`."""

    text: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[TEXT]", help_behavior_hint="")] = ""
    """A prompt, or a file that ends in .txt; leave it out to use a task."""
    n: int = 32
    """Prompts of the task; of a file the first so many, or all of them with 0."""
    target: Maybe[str] = None
    """With a text: the token to follow, with its leading space (default: the model's own prediction)."""
    distractor: Maybe[str] = None
    """With a text: the token to compare with (default: the mean over the vocabulary)."""
    ids: bool = False
    """The text, target and distractor are token ids, as in "0 5 3 5"."""
    mid: bool = False
    """Also read between attention and MLP."""
    top: int = 8
    """Rows of the printed tables."""


def main(config: Config, console: Console | None = None) -> int:
    """Run the logit lens and direct attribution, print both in short, keep everything in a run."""
    if not config.text and (config.target or config.distractor or config.ids):
        raise InputError("target, distractor and ids are of a text; a task brings its own answers")
    title = "Logit lens and direct attribution"
    with answering("lens", config, title=f"{title}: {config.text or config.task}", console=console) as a:
        prompts: Any = read_prompt(a.model, config.text, config.ids) if config.text else choose_task(a, config)
        target, distractor = (read_token(token, config.ids) for token in (config.target, config.distractor))
        for token in (target, distractor):
            if note := missing_space(a.model, prompts, token):
                a.say(note)
        asked = [token for token in (target, distractor) if token is not None] or None
        bos = {"prepend_bos": config.bos and bool(config.text)}
        layers = a.step("lens", lambda: lens.logit_lens(a.model, prompts, targets=asked, mid=config.mid, **bos))
        title = "if the model ended at each layer" + " (p: geometric mean)" * (not config.text)
        a.show(_by_layer(a, layers), f"{title}; layer L enters block L, the last is the output")
        question = {"target": target, "distractor": distractor, **bos}
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
    answer.show(named_heads(found.top(n)), f"what each {by} writes")
