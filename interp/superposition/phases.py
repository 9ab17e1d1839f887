"""Superposition as a phase change: what becomes of one feature, by its importance and the sparsity.

One dimension less than features (the paper: n=2, m=1 and n=3, m=2). The share of a dimension that the last feature has
is its phase: 0 not represented, 1/2 in superposition with another, 1 a dimension of its own. Beside it stands what the
best of the closed-form candidates gives.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import InputError
from interp.models import resolve_device
from interp.results import Axis, Plot, Result, Values, mean_with_interval
from interp.superposition import closed_forms
from interp.superposition.architectures import Architecture, architecture
from interp.superposition.asking import PAPER, best_of, schedule_of, seeds_from, source_of, sparsities
from interp.superposition.feature_vectors import dimensionality, interference
from interp.superposition.finishing import BEHIND, among, unfinished
from interp.superposition.optimising import Schedule, Trained, optimise, stacked
from interp.superposition.sampling import Exact

PHASES = ("not represented", "superposition", "dedicated")
USUAL = Schedule(n_steps=800, learning_rate=0.02)
POINTS = {2: (8, 40), 3: (5, 13), 4: (3, 7)}
"""Quadrature points a feature, by number of features: to train on, and to measure the loss at the end."""
SOURCES = ("trained", "closed form")
TIE = 1e-4
"""Candidates whose losses differ by a smaller share are equally good."""


class PhaseDiagram(Result):
    """dimensionality, loss [source, importance, density]: dimensions of the last feature, and the expected loss; source
    is "trained" (the best of several starts) or "closed form" (the best candidate). norm, interference [importance,
    density]: length of the last feature's vector, and what of others lies in its direction. same_phase [importance,
    density]: share of a cell's starts that end in the phase of the best of them, which counts too; same_phase_mean,
    _low, _high: over cells. agreement: share of cells with the same phase, or, where candidates tie, that of one of
    them.
    """

    kind: ClassVar[str] = "superposition_phase_diagram"

    @property
    def notes(self) -> list[str]:
        """What was found, a sentence each."""
        return [str(note) for note in self.texts["notes"]]

    def table(self) -> pd.DataFrame:
        """How many cells are in each phase, trained and by closed form."""
        shares = self.values["dimensionality"].data
        counts = {
            source: torch.bincount(_phase(shares[i]).flatten(), minlength=3).tolist()
            for i, source in enumerate(SOURCES)
        }
        return pd.DataFrame({"phase": PHASES, **counts})


def phase_diagram(
    n_features: int = 2,
    *,
    sparsity: Sequence[float] | int = 15,
    importance: Sequence[float] | int = 15,
    n_seeds: int = 8,
    seed: int = 0,
    device: str = "auto",
    **schedule: Any,
) -> PhaseDiagram:
    """Train ReLU output models with n_features - 1 dimensions over a grid, and compare with the closed forms.

    sparsity, importance: values, or how many of them: densities 1 - S from 1 down to 0.01, and importances of the
    last feature from 0.1 to 10 (all others have 1), evenly on a logarithmic scale. The expected loss is summed over
    all inputs by quadrature, so nothing but the start is random; every cell has n_seeds starts of its own, whatever
    other cells are asked for, and the best of them counts. schedule: fields of `Schedule`. Raises InputError for
    values out of range, and for other than 2, 3 or 4 features.
    """
    started = datetime.now(UTC)
    if n_features not in POINTS:
        raise InputError(f"closed forms and exact training are here for 2, 3 or 4 features, not {n_features}")
    where, seeds = resolve_device(device), seeds_from(n_seeds, seed)
    settings = schedule_of(schedule, USUAL)
    dense = _densities(sparsity)
    weights = _importances(importance)
    density = torch.tensor(dense, device=where).repeat(len(weights))
    of_features = torch.ones(len(density), n_features, device=where)
    of_features[:, -1] = torch.tensor(weights, device=where).repeat_interleave(len(dense))
    source, test = (Exact(density, n_features, n_points) for n_points in POINTS[n_features])
    kind, words = architecture("relu"), f"phase diagram, {n_features} features"
    cells = [(one, other) for one in weights for other in dense]
    starts = _starts(kind, n_features, cells, seeds)
    found = optimise(kind, source, of_features, n_features - 1, seeds, settings, words, test, starts)
    axes = (
        Axis("importance", tuple(f"{one:.3g}" for one in weights)),
        Axis("density", tuple(f"{one:.3g}" for one in dense)),
    )
    values = _values(found, closed_forms.candidates(of_features, density), axes)
    return PhaseDiagram(
        values=values,
        settings={"n_features": n_features, "n_hidden": n_features - 1, "n_seeds": n_seeds, "seed": seed}
        | {"n_steps": settings.n_steps, "learning_rate": settings.learning_rate, "points": POINTS[n_features]},
        provenance=source_of(f"phase diagram of {n_features} features", kind.formula, where, seed, started),
        plots=_plots(n_features, n_seeds),
        texts={"notes": _notes(values, n_seeds)},
    )


def _starts(
    kind: Architecture, n_features: int, cells: Sequence[tuple[float, float]], seeds: Sequence[int]
) -> dict[str, Tensor]:
    """Weights to begin with, each [cell, seed, ...], drawn for every cell from what the cell is and the seed."""

    def start(cell: tuple[float, float], seed: int) -> dict[str, Tensor]:
        name = f"{n_features} {cell[0]:.6g} {cell[1]:.6g} {seed}".encode()
        number = int.from_bytes(hashlib.sha256(name).digest()[:7])
        return kind.start(n_features, n_features - 1, torch.Generator().manual_seed(number))

    return stacked([stacked([start(cell, seed) for seed in seeds]) for cell in cells])


def _densities(sparsity: Sequence[float] | int) -> list[float]:
    if isinstance(sparsity, int):
        return _grid(1.0, 0.01, sparsity, "sparsity")
    return [1 - one for one in sparsities(sparsity)]


def _importances(importance: Sequence[float] | int) -> list[float]:
    given = (
        _grid(0.1, 10.0, importance, "importance") if isinstance(importance, int) else [float(i) for i in importance]
    )
    if not given or min(given) <= 0 or len(set(given)) < len(given):
        raise InputError("importances of the last feature are numbers above 0, each given once")
    return given


def _grid(first: float, last: float, n: int, what: str) -> list[float]:
    if n < 2:
        raise InputError(f"a grid needs at least 2 values of {what}, not {n}")
    return torch.logspace(math.log10(first), math.log10(last), n).tolist()


def _phase(share: Float[Tensor, "*shape"]) -> Tensor:
    """The index in PHASES of a share of a dimension: the nearest of 0, 1/2 and 1."""
    return (2 * share).round().clamp(0, 2).long()


def _values(found: Trained, known: list[closed_forms.Candidate], axes: tuple[Axis, Axis]) -> dict[str, Values]:
    shape = tuple(map(len, axes))
    matrix, loss = found.weights["W"].cpu(), found.loss.cpu()
    shares = dimensionality(matrix)[..., -1]
    best = best_of(loss, matrix)
    losses = torch.stack([candidate.loss for candidate in known]).cpu()
    of_candidates = torch.tensor([candidate.share for candidate in known])
    ideal = of_candidates[losses.argmin(0)]
    trained = best_of(loss, shares)
    same = (_phase(shares) == _phase(trained)[:, None]).float().mean(1)
    by_source = (Axis("source", SOURCES), *axes)
    tied = losses <= (1 + TIE) * losses.amin(0)
    over_cells = Values(same, (Axis("cell", tuple(range(len(same)))),), "share of starts", "in the mean over cells")
    agreement = (tied & (_phase(of_candidates)[:, None] == _phase(trained))).any(0).float().mean()
    return {
        "dimensionality": Values(
            torch.stack([trained, ideal]).reshape(2, *shape), by_source, "dimensions of the last feature"
        ),
        "loss": Values(torch.stack([loss.amin(1), losses.amin(0)]).reshape(2, *shape), by_source, "expected loss"),
        "norm": Values(best[..., -1].norm(dim=-1).reshape(shape), axes, "length of the last feature's vector"),
        "interference": Values(interference(best)[..., -1].reshape(shape), axes, "Σ (Ŵᵢ·Wⱼ)² of the last feature"),
        "same_phase": Values(same.reshape(shape), axes, "share of starts"),
        "agreement": Values(agreement, (), "share of cells"),
    } | {f"same_phase_{name}": part for name, part in mean_with_interval(over_cells, over="cell").items()}


def _notes(values: dict[str, Values], n_seeds: int) -> list[str]:
    trained, ideal = values["loss"].data
    same = values["same_phase"].data
    shares = values["dimensionality"].data
    sparser = int((_phase(shares[0]) == 1).sum()), int((_phase(shares[1]) == 1).sum())
    short = unfinished(among(trained > BEHIND * ideal, "cells"), "the best candidate")
    return [
        f"Trained models and closed forms are in the same phase in {float(values['agreement'].data):.0%} of "
        f"{same.numel()} cells (one of the best, where candidates tie); in superposition are {sparser[0]} "
        f"trained and {sparser[1]} by closed form.{short}",
        f"The trained loss is {float((trained / ideal).min()):.2f} to {float((trained / ideal).max()):.3f} times that "
        "of the best candidate; below 1 other lengths and biases do better than the candidates.",
        _of_starts(values, n_seeds),
    ]


def _of_starts(values: dict[str, Values], n_seeds: int) -> str:
    same = values["same_phase"].data
    mean, low, high = (float(values[f"same_phase_{name}"].data) for name in ("mean", "low", "high"))
    if n_seeds == 1:
        return "One start a cell: how many would end in the same phase is not known."
    return (
        f"Of {n_seeds} starts, others in every cell, {mean:.0%} [{low:.0%}, {high:.0%}] end in the phase of the best "
        f"one, itself counted ({n_seeds * same.numel()} starts; 95 % interval over cells); in single cells "
        f"{float(same.min()):.0%} to {float(same.max()):.0%}."
    )


def _plots(n: int, n_seeds: int) -> tuple[Plot, ...]:
    figure = f'{PAPER}, "Superposition as a Phase Change", the figure for n={n}, m={n - 1}'
    both = {"x_label": "density 1 - S", "y_label": "importance of the last feature", "origin": "lower", "square": True}
    return (
        Plot(
            "heatmap",
            "dimensionality",
            x="density",
            y="importance",
            series="source",
            title=f"What becomes of the last of {n} features in {n - 1} dimension{'s' if n > 2 else ''}",
            caption="Dimensions that the last feature has: 0 not represented, 0.5 in superposition, 1 dedicated; the "
            f"best of {n_seeds} trained models, and the closed-form candidate of least loss. Compare with {figure}.",
            caveat="The candidates have feature vectors of length 1 and no bias; training may choose others.",
            options=both | {"colour_range": [0, 1]},
        ),
        Plot(
            "heatmap",
            "same_phase",
            x="density",
            y="importance",
            title="How many starts find the best phase",
            caption=f"Share of the {n_seeds} starts of each cell that end in the phase of the one with the least loss, "
            "which counts too. Every cell has starts of its own, so that neighbours differ by chance as well.",
            options=both | {"colour_range": [0, 1], "square": False},
        ),
    )
