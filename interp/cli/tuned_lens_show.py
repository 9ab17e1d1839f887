"""How the prediction of one prompt forms, layer after layer, through a tuned lens and through the logit lens.

Try:
    interp tuned-lens show "The capital of France is" --lens my_lens
    interp tuned-lens show prompt.txt --lens my_lens --position 3
    interp tuned-lens show "The capital of France is"    the logit lens alone
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated

import pandas as pd
import tyro
from rich.console import Console

from interp import lens
from interp.cli.answering import Maybe, Options, answering
from interp.cli.texts import read_prompt
from interp.cli.tuned_texts import load_lens, some_rows


@dataclass(frozen=True, kw_only=True)
class Config(Options):
    """Options of `interp tuned-lens show`."""

    text: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TEXT")]
    """The prompt, or a file that ends in .txt."""
    lens: Maybe[str] = None
    """The directory of a tuned lens (default: the logit lens alone)."""
    position: int = -1
    """The position whose path is printed; negative from the end."""
    ids: bool = False
    """The text is token ids, as in "0 5 3 5"."""
    bos: bool = False
    """Begin the prompt with the BOS token."""


def main(config: Config, console: Console | None = None) -> int:
    """Print the path of one position, keep the maps of all in a run with its report."""
    with answering("tuned-lens-show", config, title=f"Prediction trajectory: {config.text}", console=console) as a:
        prompt = read_prompt(a.model, config.text, config.ids)
        tuned = None if config.lens is None else load_lens(a.model, config.lens)
        for name, used in (("tuned-lens", tuned), ("logit-lens", None)):
            if name == "tuned-lens" and tuned is None:
                continue
            found = a.step(name, partial(lens.trajectory, a.model, prompt, used, prepend_bos=config.bos))
            # The token after the last is not known, so that its surprisal is none.
            path = found.path(config.position).dropna(axis="columns", how="all")
            a.show(some_rows(path), f"{name.replace('-', ' ')}: after {_place(found, config.position)} (nats)")
            a.conclude(_settled(path, name.replace("-", " "), _place(found, config.position)))
    return 0


def _place(found: lens.Trajectory, position: int) -> str:
    """A token and where it stands: "'is' (position 4)"."""
    tokens = found.texts["tokens"][0]
    return f"{tokens[position]!r} (position {position % len(tokens)})"


def _settled(path: pd.DataFrame, name: str, place: str) -> str:
    """From which layer on the most probable token is the model's own."""
    tokens, final = list(path["token"]), path["token"].iloc[-1]
    first = max((i + 1 for i, token in enumerate(tokens) if token != final), default=0)
    said = f"After {place} the model predicts {final}; read through the {name}"
    if first == len(tokens) - 1:
        return f"{said} the last layer before the output still prefers {tokens[-2]}."
    return f"{said} it is the first choice from layer {path['layer'].iloc[first]} on."
