"""What becomes of the loss when heads fall silent, beside as many random heads of the same layers?

Try:
    interp heads knock-out                           the best induction heads
    interp heads knock-out 18.6 17.3 --value mean
    interp heads knock-out 18.6 --text english
    interp heads knock-out 1.0 --model toy/induction

Without --text the loss is measured on random tokens that repeat: of the first copy, of the second, and their
difference, what repetition saves. With texts: early and late in the text, and the in-context score.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

import pandas as pd
import tyro
from rich.console import Console

from interp import heads
from interp.cli.answering import Answer, Maybe, Options, Several, answering
from interp.cli.fitting import fitting_length
from interp.cli.passages import Places, long_prompts
from interp.errors import InputError
from interp.heads import KnockOut


@dataclass(frozen=True)
class Config(Options):
    """Options of `interp heads knock-out`."""

    heads: Annotated[
        Several[str], tyro.conf.Positional, tyro.conf.arg(metavar="[HEAD ...]", help_behavior_hint="")
    ] = ()
    """Heads that fall silent, as 18.6 (default: the best induction heads, which are scored first)."""
    k: int = 5
    """Without heads: at most so many induction heads."""
    detected: float = 0.4
    """Without heads: the induction score from which on a head counts as one; none of those is drawn at random."""
    value: Literal["zero", "mean", "pattern-preserving"] = "zero"
    """zero: the heads write nothing;
    mean: they write their mean output;
    pattern-preserving: nothing, while all heads keep the attention of the whole model."""
    n_random: int = 20
    """Draws of as many other heads of the same layers."""
    exclude: Several[str] = ()
    """Heads that are never drawn."""
    n: int = 16
    """Prompts of random tokens, or passages, each out of another text."""
    length: Maybe[int] = None
    """Random tokens before they repeat (default: 50, or what fits twice into the model's context)."""
    text: Maybe[str] = None
    """Instead of random tokens: english (presidents' messages, fetched once), or a .txt file or a folder of them."""
    early: Maybe[int] = None
    """With texts: the early token (default: 50, or what fits)."""
    late: Maybe[int] = None
    """With texts: the late token (default: 500, or what fits)."""
    window: Maybe[int] = None
    """With texts: tokens averaged from each of the two on (default: 50, or what fits)."""
    bos: bool = False
    """Begin every prompt with the BOS token."""


def main(config: Config, console: Console | None = None) -> int:
    """Knock out, print the effects beside those of random heads, keep everything in a run."""
    with answering("heads-knock-out", config, title=f"Heads of {config.model} knocked out", console=console) as a:
        length = config.length or fitting_length(a.model, 50, n_repeats=2, bos=config.bos)
        chosen, others = (list(config.heads), []) if config.heads else _induction_heads(a, config, length)
        asked: dict[str, Any] = {
            "value": config.value,
            "n_random": config.n_random,
            "exclude": [*config.exclude, *others],
            "n": config.n,
            "length": length,
            "seed": config.seed,
            "prepend_bos": config.bos and config.text is None,
        }
        prompts = None
        if config.text is not None:
            places = Places.chosen(a.model, config.early, config.late, config.window)
            asked |= asdict(places)
            prompts = long_prompts(a, config.text, config.n, places.n_tokens, config.seed, config.bos)
        found = a.step("knock-out", lambda: heads.knock_out(a.model, chosen, prompts, **asked))
        a.show(_beside_random(found), f"change of the loss without {', '.join(found.settings['heads'])} (nats)")
        matched = "of the same layers" if found.settings["layers_matched"] else "some of them of other layers"
        draws = f"random: {config.n_random} draws of as many other heads, {matched}"
        a.say(f"{draws}; exceeded: share of them with as large an effect")
    return 0


def _induction_heads(answer: Answer, config: Config, length: int) -> tuple[list[str], list[str]]:
    """The heads to silence, and the other detected ones, by their induction scores."""
    asked = {"n": config.n, "length": length, "seed": config.seed, "prepend_bos": config.bos}
    scores = answer.step("scores", lambda: heads.scores(answer.model, kinds=("induction",), **asked))
    best = scores.sel(kind="induction").top(int(answer.model.cfg.n_layers * answer.model.cfg.n_heads))
    found = best[best["value"] >= config.detected]
    if found.empty:
        raise InputError(
            f"no head has an induction score of {config.detected} (the best has {best['value'].max():.2f}); name the "
            "heads to knock out, or lower --detected"
        )
    names = [f"{layer}.{head}" for layer, head in zip(found["layer"], found["head"])]
    return names[: config.k], names[config.k :]


def _beside_random(found: KnockOut) -> pd.DataFrame:
    """One row for each measure: the intact loss, the change, and what random heads change."""
    values = found.values
    rows = []
    for measure in values["effect"].axis("measure").labels:
        row: dict[str, object] = {"measure": measure, "intact": float(values["intact"].sel(measure=measure).data)}
        for condition in ("chosen", "random"):
            for column, name in ((condition, "effect"), ("low", "low"), ("high", "high")):
                label = column if condition == "chosen" or name == "effect" else f"{column} "
                row[label] = float(values[name].sel(measure=measure, condition=condition).data)
        row["exceeded"] = float(values["exceeded"].sel(measure=measure).data)
        rows.append(row)
    return pd.DataFrame(rows)
