"""Do induction heads read, with their keys, what previous-token heads wrote?

The account of Elhage et al. 2021 ("A Mathematical Framework for Transformer Circuits"): a previous-token head writes at
every token which token came before it, and the induction head's keys read that.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp import heads
from interp.heads import CompositionScores
from interp.hooks.head_names import Head, head_name
from interp.models import identity
from interp.reproduce.asking import ask, several, with_interval
from interp.reproduce.detected_heads import Detected
from interp.reproduce.experiment import Experiment
from interp.results import FEWEST, Axis, Plot, Result, Values, bootstrap_interval
from interp.runs import provenance
from interp.viz.theme import number

GROUPS = ("previous-token to induction", "previous-token to neither", "neither to induction", "neither to neither")
RANDOM = "random weights"
WHAT = "K-composition"


class InductionComposition(Result):
    """score, low, high [pairs]: mean K-composition of four groups of pairs of heads, with 95 % intervals over pairs;
    "neither" are heads of the same layers that are detected as nothing; and of pairs of heads with random weights, with
    the range of 95 % of them. n [pairs]. above [source, destination]: score of each previous-token head with each
    induction head, less the mean of random weights; NaN unless the source comes first. exceeded [source, destination]:
    share of the pairs of neither that compose at least as much.
    """

    kind: ClassVar[str] = "induction_composition"


def tell_composition(experiment: Experiment, found: Detected, length: int, seed: int) -> None:
    """K-composition of previous-token heads with induction heads, into the report."""
    model = experiment.model
    rotary = str(getattr(model.cfg, "positional_embedding_type", "")) == "rotary"
    offset = length - 1 if rotary else 0
    title = "Induction: where these heads get it from"
    asked = (
        "An induction head has to find the token after an earlier copy of the present one. The known way: a "
        "previous-token head of an earlier layer has written there which token came before, and the induction head's "
        "keys read it (K-composition). Of the weights this can be asked without any prompt: how large is the product "
        "of what the one writes (W_OV) with what the other's keys read (W_QK), relative to both? "
    )
    if rotary:
        asked += (
            f"The positions of this model are rotary, so the product depends on how far back the key lies; here "
            f"{several(offset, 'token')}, as on the prompts above. "
        )
    scores, why_not = ask(
        experiment, "composition", lambda: heads.composition_scores(model, offset=offset, seed=seed), WHAT
    )
    if scores is None:
        experiment.report.section(title, asked + why_not)
        return
    sources, destinations = found.asked("previous"), found.asked("induction")
    compared, why_not = ask(
        experiment,
        "composition-compared",
        lambda: compare_composition(model, scores, found, sources, destinations),
        WHAT,
    )
    if compared is None or not int(compared.values["n"].data[0]):
        none = "No previous-token head comes before an induction head in this model, so there is no such pair."
        if compared is not None:
            experiment.skip(f"{WHAT}: {none[0].lower()}{none[1:]}")
        experiment.report.section(title, asked + (why_not or none))
        return
    text = f"{asked}\n\n{_finding(compared)}"
    report = experiment.report.section(title, text)
    report.add(compared, _bars_caption(compared), plot=0).add(compared, _map_caption(compared), plot=1)
    at = compared.sel(pairs=GROUPS[0]).values
    n_pairs = int(at["n"].data)
    report.add(
        _strongest(compared),
        caption=f"The strongest of {several(n_pairs, 'pair')} of a previous-token head and an induction head. Every "
        "number follows from the weights of one pair, whatever the prompt: nothing is drawn, so it has no interval. "
        f"Last: the share of {several(int(compared.values['n'].data[3]), 'pair')} of neither composing as much.",
    )
    named = f"K-composition, {sources_words(found)}"
    experiment.number(named, at["score"], at["low"], at["high"], n_pairs, of="pairs" if n_pairs > 1 else "pair")


def sources_words(found: Detected) -> str:
    """ "previous-token heads to induction heads", with "candidate" where none is detected."""
    return f"{found.noun('previous')}s to {found.noun('induction')}s"


def compare_composition(
    model: Any, scores: CompositionScores, found: Detected, sources: Sequence[Head], destinations: Sequence[Head]
) -> InductionComposition:
    """The four groups of pairs, and each pair of the first."""
    started = datetime.now()
    score, n_heads = scores.values["score"].data, int(model.cfg.n_heads)
    baseline, *range_of_random = (scores.values[f"baseline{end}"].data for end in ("", "_low", "_high"))
    n_random = int(scores.settings["n_random"])
    taken = {*found.every(), *sources, *destinations}
    of_source, of_destination = (_others(heads_of, taken, n_heads) for heads_of in (sources, destinations))
    chosen = [[layer * n_heads + head for layer, head in of] for of in (sources, destinations)]
    groups = [
        _pairs(score, rows, columns) for rows in (chosen[0], of_source) for columns in (chosen[1], of_destination)
    ]
    bounds = [bootstrap_interval(group, 0) if len(group) else (torch.tensor(float("nan")),) * 2 for group in groups]
    pairs = Axis("pairs", (*GROUPS, RANDOM))
    names = [tuple(head_name(divmod(i, n_heads)) for i in sorted(of)) for of in chosen]
    axes = (Axis("source", names[0]), Axis("destination", names[1]))
    each = score[sorted(chosen[0])][:, sorted(chosen[1])]
    exceeded = (
        (groups[3] >= each[..., None]).float().mean(-1) if len(groups[3]) else torch.full_like(each, float("nan"))
    )
    return InductionComposition(
        values={
            "score": Values(torch.stack([*(group.mean() for group in groups), baseline]), (pairs,), "score"),
            "low": Values(torch.stack([*(low for low, _ in bounds), range_of_random[0]]), (pairs,), "score"),
            "high": Values(torch.stack([*(high for _, high in bounds), range_of_random[1]]), (pairs,), "score"),
            "n": Values(torch.tensor([*(len(group) for group in groups), n_random]), (pairs,), "pairs"),
            "above": Values(each - baseline, axes, "", "score less the mean of random weights"),
            "exceeded": Values(exceeded, axes, "share"),
        },
        settings=dict(scores.settings),
        provenance=provenance(model=identity(model), seed=scores.provenance.seed, started=started),
        plots=_plots([*(len(group) for group in groups), n_random], scores.settings["offset"]),
    )


def _others(chosen: Sequence[Head], taken: set[Head], n_heads: int) -> list[int]:
    """Heads of the same layers that are in no question."""
    layers = sorted({layer for layer, _ in chosen})
    return [layer * n_heads + head for layer in layers for head in range(n_heads) if (layer, head) not in taken]


def _pairs(score: Float[Tensor, "source destination"], rows: list[int], columns: list[int]) -> Float[Tensor, " pair"]:
    """Scores of the pairs whose source comes first."""
    each = score[rows][:, columns]
    real: Bool[Tensor, "source destination"] = ~each.isnan()
    return each[real]


def _plots(sizes: Sequence[int], offset: Any) -> tuple[Plot, Plot]:
    words = "" if offset is None else f" Rotary positions: the key {offset} tokens before the query."
    counts = ", ".join(f"{name}: {n}" for name, n in zip((*GROUPS, RANDOM), sizes))
    return (
        Plot(
            "bars",
            "score",
            x="pairs",
            title="K-composition by kind of pair",
            caption=f"Mean over pairs with 95 % intervals over pairs, for random weights with the range of 95 % of the "
            f"pairs ({counts}); neither: heads of the same layers detected as nothing.{words}",
            caveat="A property of the weights: it says what a head's keys could read, not what they do read on a "
            "prompt. Pairs share heads and are not independent, so the intervals are too narrow.",
            low="low",
            high="high",
            options={"y_label": "K-composition", "x_label": "", "horizontal": True},
        ),
        Plot(
            "heatmap",
            "above",
            x="destination",
            y="source",
            title="Each previous-token head with each induction head",
            caption="K-composition less that of random weights; empty where the source does not come first.",
            options={
                "zero_centred": True,
                "colour_label": "above random weights",
                "x_label": "induction head",
                "y_label": "previous-token head",
            },
        ),
    )


def fits_better(compared: InductionComposition) -> bool | None:
    """Whether pairs of the two kinds compose more than their neighbours; None where there are too few to say."""
    low, high = compared.sel(pairs=GROUPS[0]).values["low"], compared.sel(pairs=GROUPS[3]).values["high"]
    return None if low.data.isnan() or high.data.isnan() else float(low.data) > float(high.data)


def _finding(compared: InductionComposition) -> str:
    by_group = [compared.sel(pairs=name).values for name in (*GROUPS, RANDOM)]
    each = [with_interval(at["score"], at["low"], at["high"]) for at in by_group]
    n_pairs, n_neither = int(by_group[0]["n"].data), int(by_group[3]["n"].data)
    best = _strongest(compared).iloc[0]
    neither = (
        f"pairs of heads of the same layers that are neither with {each[3]} (n = {n_neither})"
        if n_neither
        else "there is no pair of heads of the same layers that are neither"
    )
    text = (
        f"Pairs of a previous-token head and an induction head compose with {each[0]} on average (n = "
        f"{several(n_pairs, 'pair')}), random weights of this shape with {each[4]}, and {neither}. The strongest pair "
        f"is {best['previous-token head']} with {best['induction head']}, {number(float(best['K-composition']))}"
    )
    reached = f", which {best['neither at least as high']} of the pairs of neither reach." if n_neither else "."
    verdict = {
        True: " The two kinds do fit together better than their neighbours.",
        False: " On average, then, the two kinds do not clearly fit together better than their neighbours.",
        None: f" With fewer than {FEWEST} pairs of a kind there is no interval to compare by.",
    }
    return text + reached + verdict[fits_better(compared)]


def _bars_caption(compared: InductionComposition) -> str:
    """What the bars show of this model."""
    pairs = "pairs of a previous-token head and an induction head"
    found = {
        True: f"{pairs} compose more than pairs of neither",
        False: f"{pairs} do not clearly compose more than pairs of neither",
        None: f"there are too few {pairs} or of neither to compare them",
    }[fits_better(compared)]
    counts = ", ".join(f"{name}: {int(n)}" for name, n in zip((*GROUPS, RANDOM), compared.values["n"].data.tolist()))
    offset = compared.settings["offset"]
    rotary = "" if offset is None else f" Rotary positions: the key {offset} tokens before the query."
    return (
        f"Mean K-composition by kind of pair: {found}. Whiskers: 95 % intervals over pairs, where there are at least "
        f"{FEWEST}, and for random weights the range of 95 % of the pairs; n is {counts}; neither: heads of the same "
        f"layers detected as nothing.{rotary}"
    )


def _map_caption(compared: InductionComposition) -> str:
    best = _strongest(compared).iloc[0]
    above = compared.values["above"].data
    n_above = int((above[~above.isnan()] > 0).sum())
    return (
        f"K-composition of each pair less that of random weights: {n_above} of {int((~above.isnan()).sum())} lie above "
        f"it, most of all {best['previous-token head']} with {best['induction head']}. Empty where the source does not "
        "come first."
    )


def _strongest(compared: InductionComposition, n: int = 8) -> pd.DataFrame:
    frame = compared.to_frame("above").dropna(subset="value")
    frame["K-composition"] = frame["value"] + float(compared.values["score"].data[-1])
    exceeded = compared.to_frame("exceeded")["value"]
    shares = exceeded[frame.index]
    frame["neither at least as high"] = ["–" if s != s else f"{s:.2%}" if s else "none" for s in shares]
    frame = frame.drop(columns="value").rename(
        columns={"source": "previous-token head", "destination": "induction head"}
    )
    return frame.nlargest(n, "K-composition").reset_index(drop=True)
