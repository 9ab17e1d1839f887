"""The geometry of superposition with many equal features: plateaus of dimensions per feature, and the shapes behind."""

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
from interp.results import Axis, Plot, Result, Values, mean_with_interval
from interp.superposition.architectures import architecture
from interp.superposition.asking import (
    PAPER,
    check_sizes,
    densities,
    numbered,
    schedule_of,
    seeds_from,
    source_of,
    sparsities,
)
from interp.superposition.feature_vectors import dimensionality, dimensions_per_feature
from interp.superposition.finishing import at, behind_by_hand, unfinished
from interp.superposition.optimising import Schedule, optimise
from interp.superposition.polytope_groups import NAMES, REPRESENTED, polytopes
from interp.superposition.sampling import Draws

USUAL = Schedule(n_steps=3000, n_test=32_768)
SHARES = {name: d / k for (k, d), name in NAMES.items() if name != "dedicated"}
"""Dimensions a feature has in each shape."""
OTHER = "larger groups"
PLATEAUS = {"digons": (0.46, 0.54), "dedicated": (0.93, 1.07)}
"""D* that count as lying on a plateau."""


class FeatureGeometry(Result):
    """dimensions_per_feature [inverse_density, seed]: D* = m / ‖W‖²; mean, low, high over seeds. dimensionality
    [inverse_density, seed, feature]: Dᵢ. points [point, coordinate]: 1/(1 - S) and Dᵢ of every represented feature of
    the first seed. shapes [shape, inverse_density]: features in groups of each shape, in the mean over seeds. W
    [inverse_density, seed, hidden, feature].
    """

    kind: ClassVar[str] = "superposition_geometry"

    @property
    def notes(self) -> list[str]:
        """What was found, a sentence each."""
        return [str(note) for note in self.texts["notes"]]

    def table(self) -> pd.DataFrame:
        """A row a sparsity: D*, and how many features are in which shape."""
        shapes = self.values["shapes"]
        names = shapes.axes[0].labels
        held = [
            ", ".join(f"{count:.3g} {name}" for name, count in zip(names, column.tolist()) if count > 0)
            for column in shapes.data.T
        ]
        rows = {"1/(1-S)": shapes.axes[1].labels, "D*": self.values["mean"].data.tolist(), "features in shapes": held}
        return pd.DataFrame(rows)


def feature_geometry(
    n_features: int = 100,
    n_hidden: int = 10,
    *,
    sparsity: Sequence[float] | None = None,
    n_seeds: int = 1,
    seed: int = 0,
    device: str = "auto",
    **schedule: Any,
) -> FeatureGeometry:
    """Train ReLU output models with features of equal importance over sparsities, and measure their geometry.

    sparsity: by default 20 densities from 1 to 1/10, evenly on a logarithmic scale. The paper has 400 features in 30
    dimensions. schedule: fields of `Schedule`. Raises InputError for values out of range. After Elhage et al. 2022,
    "The Geometry of Superposition".
    """
    started = datetime.now(UTC)
    check_sizes(n_features, n_hidden)
    given = sparsities(sparsity if sparsity is not None else [1 - 10 ** (-i / 19) for i in range(20)])
    where, seeds = resolve_device(device), seeds_from(n_seeds, seed)
    settings = schedule_of(schedule, USUAL)
    kind, density = architecture("relu"), densities(given, where)
    equal = torch.ones(len(given), n_features, device=where)
    found = optimise(kind, Draws(density, n_features), equal, n_hidden, seeds, settings, "geometry of equal features")
    matrix = found.weights["W"].cpu()
    axes = (Axis("inverse_density", tuple(f"{1 / (1 - one):.3g}" for one in given)), Axis("seed", seeds))
    values = _values(matrix, found.loss.cpu(), axes)
    slow = behind_by_hand(found.loss, equal, density, n_hidden)
    short = unfinished(at(slow, "1/(1 - S)", axes[0].labels))
    return FeatureGeometry(
        values=values,
        settings={"n_features": n_features, "n_hidden": n_hidden, "sparsity": given, "n_seeds": n_seeds, "seed": seed}
        | asdict(settings),
        provenance=source_of("equal features", kind.formula, where, seed, started),
        plots=_plots(n_features, n_hidden, n_seeds),
        texts={"notes": _notes(values["mean"], n_hidden, short)},
    )


def _values(
    matrix: Float[Tensor, "setting seed hidden feature"], loss: Float[Tensor, "setting seed"], axes: tuple[Axis, Axis]
) -> dict[str, Values]:
    n_hidden, n_features = matrix.shape[-2:]
    per_feature = Values(dimensions_per_feature(matrix), axes, "dimensions per feature")
    shares = dimensionality(matrix)
    made = {"dimensions_per_feature": per_feature}
    made |= mean_with_interval(per_feature, over="seed")
    made["dimensionality"] = Values(shares, (*axes, numbered("feature", n_features)), "dimensions")
    made["points"] = _points(matrix[:, 0], shares[:, 0], axes[0])
    made["shapes"] = _shapes(matrix, axes[0])
    made["loss"] = Values(loss, axes, "expected loss")
    made["W"] = Values(matrix, (*axes, numbered("hidden", n_hidden), numbered("feature", n_features)))
    return made


def _points(
    matrix: Float[Tensor, "setting hidden feature"], shares: Float[Tensor, "setting feature"], axis: Axis
) -> Values:
    setting, feature = (matrix.square().sum(-2) >= REPRESENTED).nonzero(as_tuple=True)
    inverse = torch.tensor([float(label) for label in axis.labels])
    labels = tuple(f"{axis.labels[s]}, feature {f}" for s, f in zip(setting.tolist(), feature.tolist()))
    data = torch.stack([inverse[setting], shares[setting, feature]], 1)
    return Values(data, (Axis("point", labels), Axis("coordinate", ("1/(1 - S)", "dimensions of a feature"))))


def _shapes(matrix: Float[Tensor, "setting seed hidden feature"], axis: Axis) -> Values:
    names = [*NAMES.values(), OTHER]
    counts = torch.zeros(len(names), len(matrix))
    for i, models in enumerate(matrix):
        for model in models:
            for group in polytopes(model):
                counts[names.index(group.name if group.name in names else OTHER), i] += len(group.features)
    return Values(counts / matrix.shape[1], (Axis("shape", tuple(names)), axis), "features")


def _notes(mean: Values, n_hidden: int, short: str) -> list[str]:
    inverse = [float(label) for label in mean.axes[0].labels]
    notes = []
    for name, (low, high) in PLATEAUS.items():
        on = [x for x, y in zip(inverse, mean.data.tolist()) if low <= y <= high]
        level = "1" if name == "dedicated" else "1/2"
        found = f"from 1/(1 - S) = {min(on):.3g} to {max(on):.3g}" if on else "at no sparsity of the grid"
        notes.append(f"D* lies within {low} and {high}, the plateau at {level}, {found}.")
    notes[0] += short
    if inverse[0] == 1.0:
        notes.append(
            f"Without sparsity D* = 1 says only that {n_hidden} directions are kept: features are equal there and any "
            f"{n_hidden} directions serve, so that no feature need have one of its own."
        )
    return notes


def _plots(n: int, m: int, n_seeds: int) -> tuple[Plot, ...]:
    figure = f'{PAPER}, "The Geometry of Superposition" (there n=400, m=30)'
    x = {"x_label": "1/(1 - S)"}
    over = f", in the mean over {n_seeds} seeds" if n_seeds > 1 else ""
    return (
        Plot(
            "lines",
            "mean",
            x="inverse_density",
            low="low",
            high="high",
            title=f"Dimensions per feature, {n} features in {m} dimensions",
            caption=f"D* = m/‖W‖² against sparsity{over}: how it falls by steps. Compare with {figure}, the curve of "
            "dimensions per feature.",
            options=x | {"log_x": True, "references": {"dedicated": 1.0, "digons": 0.5}, "y_range": [0, 1.1]},
        ),
        Plot(
            "scatter",
            "points",
            x="coordinate",
            series="point",
            title="Dimensions of every feature",
            caption="Each point is a represented feature of one model (squared length 0.25 or more) and its share "
            f"Dᵢ of a dimension; dashed: what regular shapes give. Compare with {figure}, the scatter of Dᵢ.",
            caveat="Where nearly all features touch, their shares follow the number of features and not a shape's.",
            options={"log_x": True, "marker_size": 5, "references": SHARES, "named": []},
        ),
        Plot(
            "heatmap",
            "shapes",
            x="inverse_density",
            y="shape",
            title="Which shapes feature vectors form",
            caption=f"Features in groups of each shape{over}. Features of a group are linked by |cosines| of 0.15 or "
            "more, and its name says how many span how many dimensions. Compare with the paper's feature graphs.",
            options=x,
        ),
    )
