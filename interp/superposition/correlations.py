"""Features that come together, and features that exclude each other: who shares a dimension with whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, ClassVar

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from interp.models import resolve_device
from interp.results import Axis, Plot, Result, Values, interval_words, mean_with_interval
from interp.superposition.architectures import architecture
from interp.superposition.asking import (
    PAPER,
    best_of,
    check_sizes,
    densities,
    numbered,
    schedule_of,
    seeds_from,
    source_of,
    sparsities,
    sparsity_axis,
)
from interp.superposition.feature_vectors import TINY, cosines, gram
from interp.superposition.finishing import at, behind_by_hand, unfinished
from interp.superposition.optimising import Schedule, optimise
from interp.superposition.sampling import TOGETHER, Draws

USUAL = Schedule(n_steps=2000, n_test=32_768)
CLOSE = 0.2
"""Cosines that differ by less say the same of two models."""


class CorrelatedFeatures(Result):
    """within, between [together, sparsity, seed]: mean cosine of the vectors of two features of one group, and mean
    |cosine| of features of two groups. mean, low, high: of within, over seeds. best_within [together, sparsity]: within
    of the model with the least loss. best_gram [panel, feature, other_feature]: its WᵀW. vectors [panel, feature,
    coordinate]: its feature vectors, for two dimensions. A panel is a kind of features at a sparsity.
    """

    kind: ClassVar[str] = "superposition_correlated_features"

    @property
    def notes(self) -> list[str]:
        """What was found, a sentence a kind of features."""
        best, within = self.values["best_within"], self.values["within"]
        given = best.axes[1].labels
        notes = []
        unfinished: Any = self.texts.get("unfinished", [""] * len(best.data))
        for kind, row, starts, short in reversed(
            [*zip(best.axes[0].labels, best.data.tolist(), within.data, unfinished)]
        ):
            told = ", ".join(f"{round(cosine, 2) + 0.0:.2f} at S = {one}" for cosine, one in zip(row, given))
            agree = float(((starts - torch.tensor(row)[:, None]).abs() < CLOSE).float().mean())
            notes.append(
                f"Features that are {kind}: in the model of least loss two of one group have a cosine of {told}; "
                f"{agree:.0%} of all starts come within {CLOSE} of that.{short}"
            )
        return [*notes, self._overlap_of_groups()]

    def _overlap_of_groups(self) -> str:
        between = self.values["between"]
        kinds, given = (axis.labels for axis in between.axes[:2])
        means = zip(kinds, between.data.mean(2).tolist())
        told = "; ".join(f"{kind} {', '.join(f'{one:.2f}' for one in row)}" for kind, row in means)
        where = f"S = {', '.join(map(str, given))}"
        return f"|cosine| of two features of different groups, in the mean over all starts, at {where}: {told}."

    def table(self) -> pd.DataFrame:
        """A row for each kind of features and sparsity."""
        within, between = self.values["within"], self.values["between"]
        kinds, given = (axis.labels for axis in within.axes[:2])
        rows = [(i, j) for i in range(len(kinds)) for j in range(len(given))]
        return pd.DataFrame(
            {
                "features": [kinds[i] for i, _ in rows],
                "S": [given[j] for _, j in rows],
                "cosine in a group": [float(within.data[i, j].mean()) for i, j in rows],
                "best start": [float(self.values["best_within"].data[i, j]) for i, j in rows],
                "|cosine| between": [float(between.data[i, j].mean()) for i, j in rows],
            }
        )


def correlated_features(
    n_features: int = 4,
    n_hidden: int = 2,
    *,
    group_size: int = 2,
    sparsity: float | Sequence[float] = (0.6, 0.8, 0.9, 0.95),
    n_seeds: int = 16,
    seed: int = 0,
    device: str = "auto",
    **schedule: Any,
) -> CorrelatedFeatures:
    """Train ReLU output models on independent, correlated and anticorrelated groups of features, all as frequent.

    Correlated features of a group are present together or not at all, with values of their own; of anticorrelated ones
    at most one is present, which takes a sparsity of at least 1 - 1/group_size. schedule: fields of `Schedule`. Raises
    InputError for values out of range. After Elhage et al. 2022, "Correlated and anticorrelated features".
    """
    started = datetime.now(UTC)
    check_sizes(n_features, n_hidden)
    where, seeds, given = resolve_device(device), seeds_from(n_seeds, seed), sparsities(sparsity)
    settings = schedule_of(schedule, USUAL)
    kind, density = architecture("relu"), densities(given, where)
    equal = torch.ones(len(given), n_features, device=where)
    sources = [Draws(density, n_features, together, group_size) for together in TOGETHER]
    losses, matrices, short = [], [], []
    for source in sources:
        found = optimise(kind, source, equal, n_hidden, seeds, settings, f"{source.together} features")
        slow = behind_by_hand(found.loss, equal, density, n_hidden, source.together, group_size)
        short.append(unfinished(at(slow, "S", sparsity_axis(given).labels)))
        losses.append(found.loss.cpu())
        matrices.append(found.weights["W"].cpu())
    axes = (Axis("together", TOGETHER), sparsity_axis(given), Axis("seed", seeds))
    return CorrelatedFeatures(
        values=_values(torch.stack(matrices), torch.stack(losses), axes, group_size),
        settings={"n_features": n_features, "n_hidden": n_hidden, "group_size": group_size, "sparsity": given}
        | {"n_seeds": n_seeds, "seed": seed}
        | asdict(settings),
        provenance=source_of("correlated features", kind.formula, where, seed, started),
        plots=_plots(n_features, n_hidden, group_size, n_seeds, len(given)),
        texts={"unfinished": short},
    )


def _values(
    matrix: Float[Tensor, "together setting seed hidden feature"],
    loss: Float[Tensor, "together setting seed"],
    axes: tuple[Axis, Axis, Axis],
    group_size: int,
) -> dict[str, Values]:
    n_hidden, n_features = matrix.shape[-2:]
    group = torch.arange(n_features) // group_size
    together = group[:, None] == group[None, :]
    pairs = torch.ones(n_features, n_features).triu(1).bool()
    found = cosines(matrix)
    inside, between = _mean(found, matrix, together & pairs), _mean(found.abs(), matrix, ~together & pairs)
    within = Values(inside, axes, "cosine", "of two features of one group")
    best = best_of(loss, matrix)
    feature = numbered("feature", n_features)
    made = {"within": within, "between": Values(between, axes, "|cosine|"), "loss": Values(loss, axes, "expected loss")}
    made |= mean_with_interval(within, over="seed")
    made["best_within"] = Values(best_of(loss, inside), axes[:2], "cosine")
    made["W"] = Values(matrix, (*axes, numbered("hidden", n_hidden), feature))
    panel = Axis("panel", tuple(f"{kind}, S = {one}" for kind in axes[0].labels for one in axes[1].labels))
    best = best.flatten(0, 1)
    made["best_gram"] = Values(gram(best), (panel, feature, numbered("other_feature", n_features)), "WᵀW")
    if n_hidden == 2:
        made["vectors"] = Values(best.mT, (panel, feature, Axis("coordinate", ("h₁", "h₂"))))
    return made


def _mean(found: Tensor, matrix: Tensor, pairs: Tensor) -> Float[Tensor, "together setting seed"]:
    """Over the pairs whose features are both there; NaN where there is none."""
    there = matrix.square().sum(-2) >= TINY
    counted = pairs & there[..., :, None] & there[..., None, :]
    return torch.where(counted, found, 0.0).sum((-2, -1)) / counted.sum((-2, -1))


def _plots(n: int, m: int, group_size: int, n_seeds: int, n_given: int) -> tuple[Plot, ...]:
    figure = f'{PAPER}, "Correlated and anticorrelated features"'
    groups = f"{n // group_size} groups of {group_size} features in {m} dimensions"
    curve = Plot(
        "lines",
        "mean",
        x="sparsity",
        series="together",
        low="low",
        high="high",
        title=f"How features of one group lie to each other, {groups}",
        caption="Mean cosine of two features of one group: 1 the same direction, 0 at right angles, -1 opposite; "
        f"{interval_words(n_seeds, 'starts')}. Compare with {figure}.",
        caveat="Not every start finds the arrangement of least loss; the arrows show the start that did best.",
        options={"zero_line": True, "y_range": [-1.05, 1.05], "x_label": "sparsity S"},
    )
    if m != 2:
        return (_gram_plot(groups, group_size, n_seeds, n_given), curve)
    drawn = Plot(
        "vectors",
        "vectors",
        x="coordinate",
        series="panel",
        title=f"Feature vectors, {groups}",
        caption=f"Columns of W of the start with the least loss of {n_seeds}; features of one group have one colour. "
        f"Compare with {figure}, the figures of two sets of two features.",
        options={"families": {str(i): f"group {i // group_size}" for i in range(n)}, "across": n_given},
    )
    return (drawn, curve)


def _gram_plot(groups: str, group_size: int, n_seeds: int, n_given: int) -> Plot:
    return Plot(
        "heatmap",
        "best_gram",
        x="other_feature",
        y="feature",
        series="panel",
        title=f"WᵀW, {groups}",
        caption=f"WᵀW of the start with the least loss of {n_seeds}; {group_size} neighbouring features are a group. "
        "Blocks that are 0 beside the diagonal are local bases at right angles; what is left overlaps with other "
        f'groups. Compare with {PAPER}, "Local, almost-orthogonal bases".',
        options={"zero_centred": True, "square": True, "colour_limit": 1.0, "across": n_given},
    )
