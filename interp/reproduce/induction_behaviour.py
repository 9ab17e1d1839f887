"""What repetition saves a model, and which of its heads look back: the first two questions about induction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from interp import heads
from interp.heads import HeadScores, RepeatedLoss
from interp.hooks.head_names import head_name
from interp.reproduce.asking import joined, several, side, with_interval
from interp.reproduce.detected_heads import THRESHOLD, WORDS, Detected
from interp.reproduce.experiment import Experiment
from interp.results import Values, interval_words, mean_with_interval
from interp.viz.theme import number

ENDS = ("", "_low", "_high")


def tell_loss(experiment: Experiment, n: int, repeated: Mapping[str, Any]) -> None:
    """The loss on random tokens that come again, into the report."""
    loss = experiment.step("loss", lambda: heads.repeated_loss(experiment.model, n=n, **repeated))
    first, second = ([loss.sel(copy=copy).values[f"copies{end}"] for end in ENDS] for copy in (1, 2))
    saved = saved_by_repetition(loss)
    verdict = {1: f"falls from {number(float(first[0].data))} to {number(float(second[0].data))} nats", None: "changes"}
    change = verdict.get(side(*saved[1:]), "does not clearly fall")
    experiment.report.section(
        "Induction: what repetition saves",
        f"{several(n, 'prompt')} of {repeated['length']} random tokens, then the same tokens again. Nothing but the "
        "repetition predicts a token of the second copy, so what the model saves there it saves by looking "
        "back. In the first copy the loss may lie above a uniform guess: a language model expects text, not random "
        f"tokens.\n\nThe mean loss is {with_interval(*first)} nats in the first copy and {with_interval(*second)} in "
        f"the second: repetition saves {with_interval(*saved)} nats.",
    ).add(
        loss,
        f"Mean loss at every position (band: {interval_words(n, 'prompts')}). From position "
        f"{repeated['length'] + int(repeated['prepend_bos'])} on the tokens come again, and the loss {change}.",
    )
    told = (("loss, first copy", first), ("loss, second copy", second), ("saved by repetition", saved))
    for name, (mean, low, high) in told:
        experiment.number(name, mean, low, high, n)


def saved_by_repetition(loss: RepeatedLoss) -> list[Values]:
    """Loss of the first copy less that of the second, prompt by prompt: mean and interval."""
    first, second = (loss.values["copies_per_prompt"].sel(copy=copy) for copy in (1, 2))
    found = mean_with_interval(Values(first.data - second.data, first.axes, "nats"))
    return [found[name] for name in ("mean", "low", "high")]


def tell_heads(experiment: Experiment, n: int, views: int, repeated: Mapping[str, Any]) -> Detected:
    """Which heads look where previous-token, duplicate-token and induction heads look, into the report."""
    scores = experiment.step("scores", lambda: heads.scores(experiment.model, n=n, keep_patterns=views, **repeated))
    found = Detected.by_score(scores)
    report = experiment.report.section("Induction: the heads", _heads_text(found))
    report.add(scores, _map_caption(scores, found, n), plot=0)
    if len(scores.plots) > 1:
        report.add(scores, _view_caption(found, views), plot=1)
    for kind in WORDS:
        for (layer, head), name in found.shown(kind, 3 if kind == "induction" else 1):
            at = scores.sel(kind=kind, layer=layer, head=head).values
            experiment.number(name, at["score"], at["low"], at["high"], n)
    report.add(
        _best_heads(scores, found),
        caption=f"The five highest scores of each kind with {interval_words(n, 'prompts')}, beside the same measure on "
        f"as many prompts of random tokens that do not repeat (control). Detected: at least {THRESHOLD}.",
    )
    return found


def _heads_text(found: Detected) -> str:
    counts = "; ".join(
        f"{several(len(found.heads[kind]), f'{words} head')}"
        + (f" ({', '.join(head_name(head) for head in found.heads[kind])})" if found.heads[kind] else "")
        for kind, words in WORDS.items()
    )
    return (
        "A previous-token head looks from a token to the one before it; a duplicate-token head to the same token in "
        "the first copy; an induction head to the token after it. The score is the share of a head's attention that "
        f"lies there; heads that reach {THRESHOLD} count as detected, which is a convention.\n\nDetected, highest "
        f"first: {counts}. {found.caution()}"
    )


def _map_caption(scores: HeadScores, found: Detected, n: int) -> str:
    every = scores.values["score"].sel(kind="induction").data.numel()
    parts = []
    for kind, words in WORDS.items():
        (layer, head), _ = found.shown(kind, 1)[0]
        best = number(float(scores.values["score"].sel(kind=kind, layer=layer, head=head).data))
        parts.append(f"{len(found.heads[kind]) or 'none'} as {words} head (highest: {layer}.{head}, {best})")
    return (
        "Share of each head's attention that lies where a head of that kind looks, mean over "
        f"{several(n, 'prompt')}: of {every} heads {joined(parts)} {'reach' if every > 1 else 'reaches'} {THRESHOLD}."
    )


def _view_caption(found: Detected, views: int) -> str:
    kinds = [
        f"{', '.join(head_name(head) for head in found.nearest[kind][:views])} ({words})"
        for kind, words in WORDS.items()
    ]
    return f"Where the highest-scoring heads of each kind look on the first prompt: {joined(kinds)}."


def _best_heads(scores: HeadScores, found: Detected) -> pd.DataFrame:
    """The five highest scores of each kind with their control, as a table."""
    rows = []
    for kind, words in WORDS.items():
        for layer, head in scores.top_heads(kind, 5):
            at = scores.sel(kind=kind, layer=layer, head=head).values
            rows.append(
                {
                    "measure": words,
                    "head": head_name((layer, head)),
                    "detected": (layer, head) in found.heads[kind],
                    "score": with_interval(at["score"], at["low"], at["high"]),
                    "control": with_interval(*(at[f"control{end}"] for end in ENDS)),
                }
            )
    return pd.DataFrame(rows)
