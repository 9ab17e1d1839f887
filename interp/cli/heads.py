"""Score every attention head: previous token, duplicate token, induction, and the loss that repetition saves.

interp heads                                      on random tokens that repeat, with a control that does not repeat
interp heads --prefix-matching                    also as Olsson et al. measured it
interp heads --text "the cat sat. the cat sat."   on a text of your own, or --text FILE.txt
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from rich.console import Console

from interp import heads
from interp.cli.answering import Answer, Options, answering
from interp.cli.texts import read_text
from interp.heads import HeadScores


@dataclass(frozen=True)
class Config(Options):
    """Options of `interp heads`."""

    kinds: tuple[str, ...] = ("previous", "duplicate", "induction")
    """Kinds of heads to score."""
    text: str = ""
    """A text, or a file that ends in .txt, instead of random tokens."""
    n: int = 16
    """Prompts of random tokens."""
    length: int = 50
    """Random tokens before they repeat."""
    bos: bool = False
    """Begin every prompt with the BOS token."""
    prefix_matching: bool = False
    """Also the score of Olsson et al. 2022: 25 tokens, four times, after BOS where the model has one."""
    views: int = 2
    """Heads of each kind whose attention goes into the report."""
    top: int = 6
    """Rows of each printed table."""


def main(config: Config, console: Console | None = None) -> int:
    """Score, print the best heads of every kind, keep everything in a run."""
    with answering("heads", config, title=f"Attention heads of {config.model}", console=console) as a:
        shared = {"kinds": config.kinds, "prepend_bos": config.bos, "keep_patterns": config.views}
        if config.text:
            text = read_text(config.text)
            scores = a.step("scores", lambda: heads.scores(a.model, text, **shared))
        else:
            random = {"n": config.n, "length": config.length, "seed": config.seed}
            scores = a.step("scores", lambda: heads.scores(a.model, **random, **shared))
            loss = a.step("loss", lambda: heads.repeated_loss(a.model, prepend_bos=config.bos, **random))
            a.show(loss.to_frame("copies"), "loss of each copy (nats)")
        for kind in config.kinds:
            _show_best(a, scores, kind, config.top)
        if config.prefix_matching:
            bos = getattr(a.model.tokenizer, "bos_token_id", None) is not None
            found = a.step("prefix-matching", lambda: heads.prefix_matching(a.model, seed=config.seed, prepend_bos=bos))
            a.show(found.sel(kind="entries").top(config.top), "prefix matching (Olsson et al. 2022; at most 0.5)")
    return 0


def _show_best(answer: Answer, scores: HeadScores, kind: str, n: int) -> None:
    best = scores.sel(kind=kind).top(n)
    rows: dict[str, object] = {
        "head": [f"{layer}.{head}" for layer, head in zip(best["layer"], best["head"])],
        "score": best["value"],
        "low": best["low"],
        "high": best["high"],
    }
    if "control" in scores.values:
        control = scores.values["control"].sel(kind=kind).data
        rows["without repetition"] = [float(control[layer, head]) for layer, head in zip(best["layer"], best["head"])]
    answer.show(pd.DataFrame(rows), f"{kind} heads")
