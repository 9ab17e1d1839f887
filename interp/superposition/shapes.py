"""Which shape a few equal features take in a few dimensions, over many starts: digons, triangles, pentagons, ..."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, ClassVar

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import InputError
from interp.models import resolve_device
from interp.results import Axis, Plot, Result, Values
from interp.superposition.architectures import architecture
from interp.superposition.asking import (
    PAPER,
    best_of,
    check_sizes,
    densities,
    schedule_of,
    seeds_from,
    source_of,
    sparsities,
)
from interp.superposition.feature_vectors import dimensionality
from interp.superposition.finishing import among, behind_by_hand, unfinished
from interp.superposition.optimising import Schedule, Trained, optimise
from interp.superposition.polytope_groups import NAMES, polytopes, shape_of
from interp.superposition.sampling import Draws

SIZES = ((2, 1), (3, 2), (4, 3), (5, 2), (8, 3))
SIMPLICES = ((3, 2), (4, 3))
USUAL = Schedule(n_steps=2000, n_test=32_768)


class ShapeCounts(Result):
    """starts [case, shape]: share of the starts that end in each shape; a case is "n in m, S". best_dimensions,
    expected_dimensions [case]: mean Dᵢ of the represented features of the start with the least loss, and what its
    shapes would give them if regular.
    """

    kind: ClassVar[str] = "superposition_shapes"

    @property
    def notes(self) -> list[str]:
        """Whether simplices have the least loss where there is one feature more than dimensions; what is untrained."""
        best = [str(name) for name in self.texts["best"]]
        asked = [(size[0], size[1]) for size in self.settings["sizes"]]
        missing = [NAMES[size] for size in SIMPLICES if size in asked and not any(NAMES[size] in one for one in best)]
        short = str(self.texts.get("unfinished", ""))
        if not missing:
            return [short.strip()] if short else []
        return [
            f"No {' or '.join(missing)} has the least loss: an antipodal pair beside dedicated features gives as many "
            f"dimensions a feature, and by closed form (length 1, no bias) loses less than a triangle.{short}"
        ]

    def table(self) -> pd.DataFrame:
        """A row a case: the shape of least loss, how many starts found it, its dimensions a feature and the regular."""
        starts = self.values["starts"]
        best = [str(name) for name in self.texts["best"]]
        found = [float(starts.sel(case=case, shape=name).data) for case, name in zip(starts.axes[0].labels, best)]
        return pd.DataFrame(
            {
                "features in dimensions, S": starts.axes[0].labels,
                "least loss": best,
                "of starts": [f"{share:.0%}" for share in found],
                "mean D": self.values["best_dimensions"].data.tolist(),
                "if regular": self.values["expected_dimensions"].data.tolist(),
            }
        )


def shape_counts(
    sizes: Sequence[tuple[int, int]] = SIZES,
    *,
    sparsity: float | Sequence[float] = (0.5, 0.9, 0.98),
    n_seeds: int = 16,
    seed: int = 0,
    device: str = "auto",
    **schedule: Any,
) -> ShapeCounts:
    """Train ReLU output models of a few features of equal importance from many starts, and name their shapes.

    sizes: (features, hidden dimensions). schedule: fields of `Schedule`. Raises InputError for values out of range.
    After Elhage et al. 2022, "The Geometry of Superposition".
    """
    started = datetime.now(UTC)
    for n_features, n_hidden in sizes:
        check_sizes(n_features, n_hidden)
    if not sizes:
        raise InputError("no sizes were given; a size is (features, hidden dimensions), such as (5, 2)")
    where, seeds, given = resolve_device(device), seeds_from(n_seeds, seed), sparsities(sparsity)
    settings = schedule_of(schedule, USUAL)
    kind, density = architecture("relu"), densities(given, where)
    rows: list[dict[str, Any]] = []
    for n_features, n_hidden in sizes:
        equal = torch.ones(len(given), n_features, device=where)
        words = f"{n_features} features in {n_hidden} dimension{'s' if n_hidden > 1 else ''}"
        found = optimise(kind, Draws(density, n_features), equal, n_hidden, seeds, settings, words)
        slow = behind_by_hand(found.loss, equal, density, n_hidden)
        rows += _rows(found, f"{n_features} in {n_hidden}", given, slow.tolist())
    return ShapeCounts(
        values=_values(rows),
        settings={"sizes": [list(size) for size in sizes], "sparsity": given, "n_seeds": n_seeds, "seed": seed}
        | asdict(settings),
        provenance=source_of("shapes of a few features", kind.formula, where, seed, started),
        plots=(_plot(n_seeds),),
        texts={
            "best": [row["best"] for row in rows],
            "unfinished": unfinished(among(torch.tensor([row["behind"] for row in rows]), "cases")),
        },
    )


def _rows(found: Trained, size: str, given: Sequence[float], slow: Sequence[bool]) -> list[dict[str, Any]]:
    matrix, loss = found.weights["W"].cpu(), found.loss.cpu()
    rows = []
    for i, (best, one) in enumerate(zip(best_of(loss, matrix), given)):
        dimensions, expected = _shares(best)
        rows.append(
            {
                "case": f"{size}, {one:g}",
                "counts": Counter(shape_of(model) for model in matrix[i]),
                "best": shape_of(best),
                "behind": slow[i],
                "dimensions": dimensions,
                "expected": expected,
            }
        )
    return rows


def _shares(matrix: Float[Tensor, "hidden feature"]) -> tuple[float, float]:
    """The mean Dᵢ of the represented features, and what their shapes would give them."""
    groups = polytopes(matrix)
    features = [feature for group in groups for feature in group.features]
    if not features:
        return float("nan"), float("nan")
    return float(dimensionality(matrix)[features].mean()), sum(group.dimensions for group in groups) / len(features)


def _values(rows: list[dict[str, Any]]) -> dict[str, Values]:
    cases = Axis("case", tuple(row["case"] for row in rows))
    names = sorted({name for row in rows for name in row["counts"]}, key=_order)
    starts = torch.tensor([[row["counts"][name] / row["counts"].total() for name in names] for row in rows])
    return {
        "starts": Values(starts, (cases, Axis("shape", tuple(names))), "share of starts"),
        "best_dimensions": Values(
            torch.tensor([row["dimensions"] for row in rows]), (cases,), "dimensions per feature"
        ),
        "expected_dimensions": Values(
            torch.tensor([row["expected"] for row in rows]), (cases,), "dimensions per feature"
        ),
    }


def _order(name: str) -> tuple[int, str]:
    """Shapes the paper names first, in its order; then mixtures."""
    known = list(NAMES.values())
    return (known.index(name) if name in known else len(known), name)


def _plot(n_seeds: int) -> Plot:
    return Plot(
        "heatmap",
        "starts",
        x="case",
        y="shape",
        title="Shapes that a few features take",
        caption=f"Share of {n_seeds} starts, the same at every sparsity, that end in each shape; columns are features "
        "in dimensions and sparsity S. "
        f'Compare with {PAPER}, "The Geometry of Superposition", where such shapes are parts of one large model.',
        options={"x_label": "features in dimensions, S", "colour_range": [0, 1]},
    )
