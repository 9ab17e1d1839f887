"""Induction heads (Olsson et al. 2022, "In-context Learning and Induction Heads"; Elhage et al. 2021).

A model that has seen "A B ... A" expects B. On random tokens, where nothing else predicts the next one, this shows as
a loss that falls when the sequence repeats, and as heads that look from A at what followed A before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from interp import heads
from interp.heads import HeadScores
from interp.reproduce.experiment import Experiment
from interp.runs import Run
from interp.viz import Report

TITLE = "Induction heads"
# A head counts as detected from this score on; the threshold is the field's convention, not a fact about models.
DETECTED = 0.4
WORDS = {"previous": "previous-token", "duplicate": "duplicate-token", "induction": "induction"}


@dataclass(frozen=True)
class InductionSettings:
    """What decides the numbers.

    n: prompts. length: random tokens before they repeat. seed: of the tokens. prepend_bos: begin with BOS.
    views: heads of each kind whose attention is shown.
    """

    n: int = 16
    length: int = 50
    seed: int = 0
    prepend_bos: bool = False
    views: int = 2


def run_induction(model: Any, settings: InductionSettings, run: Run, report: Report) -> Experiment:
    """Measure the loss on repeated random tokens and score every head; write both into the report.

    Returns the experiment with its headline numbers: the loss of each copy (nats) and the best heads of each kind.
    """
    experiment = Experiment(model, run, report, "induction")
    common = {"seed": settings.seed, "prepend_bos": settings.prepend_bos}
    loss = experiment.step("loss", lambda: heads.repeated_loss(model, n=settings.n, length=settings.length, **common))
    report.section(
        "Induction: what repetition saves",
        f"{settings.n} prompts of {settings.length} random tokens, then the same tokens again. Nothing but the "
        "repetition predicts a token of the second copy, so what the model saves there it saves by looking "
        "back. In the first copy the loss may lie above a uniform guess: a language model expects text, not random "
        "tokens.",
    ).add(loss)
    for copy, name in ((1, "loss, first copy"), (2, "loss, second copy")):
        at = loss.sel(copy=copy).values
        experiment.number(name, at["copies"], at["copies_low"], at["copies_high"], settings.n)
    scores = experiment.step(
        "scores",
        lambda: heads.scores(model, n=settings.n, length=settings.length, keep_patterns=settings.views, **common),
    )
    report.section("Induction: the heads", _heads_text(scores)).add(scores)
    _number_heads(experiment, scores, settings.n)
    report.add(_best_heads(scores), caption="The five best heads of each kind, beside the same measure on random "
               "tokens that do not repeat (control).")  # fmt: skip
    return experiment


def _heads_text(scores: HeadScores) -> str:
    detected = int((scores.values["score"].sel(kind="induction").data >= DETECTED).sum())
    return (
        "A previous-token head looks from a token to the one before it; a duplicate-token head to the same token in "
        "the first copy; an induction head to the token after it. The score is the share of a head's attention that "
        f"lies there. {detected} heads have an induction score of at least {DETECTED}."
    )


def _number_heads(experiment: Experiment, scores: HeadScores, n: int) -> None:
    for kind, words in WORDS.items():
        for layer, head in scores.top_heads(kind, n=3 if kind == "induction" else 1):
            at = scores.sel(kind=kind, layer=layer, head=head).values
            experiment.number(f"{words} head {layer}.{head}", at["score"], at["low"], at["high"], n)


def _best_heads(scores: HeadScores) -> pd.DataFrame:
    """The five best heads of each kind with their control, as a table."""
    frames = []
    for kind, words in WORDS.items():
        top = scores.sel(kind=kind).top(5, by="signed")
        control = scores.values["control"].sel(kind=kind)
        top["control"] = [float(control.sel(layer=row.layer, head=row.head).data) for row in top.itertuples()]
        top.insert(0, "kind", words)
        frames.append(top)
    return pd.concat(frames, ignore_index=True)
