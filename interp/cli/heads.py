"""Score every attention head: previous token, duplicate token, induction, and the loss that repetition saves.

Without a text: on random tokens that repeat, with a control that does not repeat.

Try:
    interp heads
    interp heads --prefix-matching                   also as Olsson et al. did
    interp heads --text "the cat sat. the cat sat."  a text of your own
    interp heads --text story.txt --kinds induction
    interp heads --model toy/induction               a model without tokenizer
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from rich.console import Console

from interp import heads
from interp.cli.answering import Answer, Maybe, Options, answering, named_heads
from interp.cli.fitting import fitting_length
from interp.cli.texts import read_prompt
from interp.heads import HeadScores


@dataclass(frozen=True)
class Config(Options):
    """Options of `interp heads`."""

    kinds: tuple[str, ...] = ("previous", "duplicate", "induction")
    """Kinds of heads to score."""
    text: Maybe[str] = None
    """A text, or a file that ends in .txt, instead of random tokens."""
    ids: bool = False
    """The text is token ids, as in "0 5 3 5"."""
    n: int = 16
    """Prompts of random tokens."""
    length: Maybe[int] = None
    """Random tokens before they repeat (default: 50, or what fits twice into the model's context)."""
    bos: bool = False
    """Begin every prompt with the BOS token."""
    prefix_matching: bool = False
    """Also the score of Olsson et al. 2022: 25 tokens (or what fits) four times, after BOS where there is one."""
    views: int = 2
    """Heads of each kind whose attention goes into the report."""
    top: int = 6
    """Rows of each printed table."""


def main(config: Config, console: Console | None = None) -> int:
    """Score, print the best heads of every kind, keep everything in a run."""
    with answering("heads", config, title=f"Attention heads of {config.model}", console=console) as a:
        shared = {"kinds": config.kinds, "prepend_bos": config.bos, "keep_patterns": config.views}
        if config.text:
            text = read_prompt(a.model, config.text, config.ids)
            scores = a.step("scores", lambda: heads.scores(a.model, text, **shared))
        else:
            length = config.length or fitting_length(a.model, 50, n_repeats=2, bos=config.bos)
            a.say(f"{config.n} prompts of {length} random tokens, repeated once")
            random = {"n": config.n, "length": length, "seed": config.seed}
            scores = a.step("scores", lambda: heads.scores(a.model, **random, **shared))
            loss = a.step("loss", lambda: heads.repeated_loss(a.model, prepend_bos=config.bos, **random))
            a.show(loss.to_frame("copies"), "loss of each copy (nats)")
        for kind in config.kinds:
            _show_best(a, scores, kind, config.top)
        if config.prefix_matching:
            _show_prefix_matching(a, config)
    return 0


def _show_best(answer: Answer, scores: HeadScores, kind: str, n: int) -> None:
    best = scores.sel(kind=kind).top(n).rename(columns={"value": "score"})
    if "control" in scores.values:
        control = scores.values["control"].sel(kind=kind).data
        best["without repetition"] = [float(control[layer, head]) for layer, head in zip(best["layer"], best["head"])]
    answer.show(named_heads(best), f"{kind} heads")


def _show_prefix_matching(answer: Answer, config: Config) -> None:
    bos = getattr(answer.model.tokenizer, "bos_token_id", None) is not None
    length = fitting_length(answer.model, 25, n_repeats=4, bos=bos)
    asked = {"length": length, "seed": config.seed, "prepend_bos": bos}
    found = answer.step("prefix-matching", lambda: heads.prefix_matching(answer.model, **asked))
    best: pd.DataFrame = found.sel(kind="entries").top(config.top)
    answer.show(named_heads(best), f"prefix matching (Olsson et al. 2022; {length} tokens, four times; at most 0.5)")
