"""`train`: toy models for several sparsities and seeds at once, and what became of their features."""

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
from interp.superposition import closed_forms
from interp.superposition.architectures import architecture
from interp.superposition.asking import (
    PAPER,
    best_of,
    check_sizes,
    densities,
    importances,
    numbered,
    schedule_of,
    seeds_from,
    source_of,
    sparsities,
    sparsity_axis,
)
from interp.superposition.feature_vectors import dimensionality, gram, interference
from interp.superposition.optimising import Schedule, Trained, optimise
from interp.superposition.polytope_groups import REPRESENTED, shape_of
from interp.superposition.sampling import Draws

FAINT = 0.1
"""Features of a smaller squared length are too faint for what they share to be shown."""


class ToyModels(Result):
    """loss [sparsity, seed]: expected loss on fresh inputs. best_gram [sparsity, feature, other_feature], best_norm,
    best_interference [sparsity, feature]: WᵀW, ‖Wᵢ‖ and Σ (Ŵᵢ·Wⱼ)² of the model with the least loss.
    dimensionality, error [sparsity, seed, feature]: of every model. represented [sparsity, seed]: features of squared
    length 0.25 or more; represented_mean, _low, _high over seeds. W [sparsity, seed, hidden, feature], bias. optimum
    [sparsity]: the least loss of a linear model. vectors [sparsity, feature, coordinate], for two hidden dimensions.
    """

    kind: ClassVar[str] = "superposition_toy_models"

    def weights(self, sparsity: float, seed: int | None = None) -> Float[Tensor, "hidden feature"]:
        """W of one model: the one with the least loss, or that of a seed."""
        matrices = self.values["W"].sel(sparsity=f"{sparsity:g}")
        losses = self.values["loss"].sel(sparsity=f"{sparsity:g}").data
        return matrices.data[int(losses.argmin())] if seed is None else matrices.sel(seed=seed).data

    @property
    def notes(self) -> list[str]:
        """What was found, a sentence."""
        counts, given = self.values["represented"].data, self.values["loss"].axis("sparsity").labels
        told = ", ".join(f"{_range_of(row)} at S = {one}" for row, one in zip(counts, given))
        n, m = self.settings["n_features"], self.settings["n_hidden"]
        return [f"Of {n} features in {m} dimensions are represented: {told}."]

    def table(self) -> pd.DataFrame:
        """A row a sparsity: losses, features represented, and the shapes their vectors form in the best model."""
        loss, counts = self.values["loss"].data, self.values["represented"].data
        names = self.values["loss"].axis("sparsity").labels
        best = best_of(loss, self.values["W"].data)
        return pd.DataFrame(
            {
                "S": names,
                "best loss": loss.amin(1).tolist(),
                "worst": loss.amax(1).tolist(),
                "best linear": self.values["optimum"].data.tolist(),
                "features": [_range_of(row) for row in counts],
                "shapes of the best": [shape_of(matrix) for matrix in best],
            }
        )


def _range_of(counts: Tensor) -> str:
    least, most = int(counts.min()), int(counts.max())
    return f"{least}" if least == most else f"{least} to {most}"


def train(
    n_features: int = 20,
    n_hidden: int = 5,
    *,
    sparsity: float | Sequence[float] = (0.0, 0.7, 0.9, 0.97, 0.99, 0.997),
    importance: float | Sequence[float] = 0.7,
    model: str = "relu",
    together: str = "independent",
    group_size: int = 2,
    n_seeds: int = 5,
    seed: int = 0,
    device: str = "auto",
    **schedule: Any,
) -> ToyModels:
    """Train toy models, one for each sparsity and seed, all in one batch.

    sparsity: S, the share of inputs without a feature. importance: weight of each feature in the loss, or a number
    whose powers they are. model: relu (x' = ReLU(WᵀWx + b)), linear, or relu_hidden. together, group_size: how
    neighbouring features are present. schedule: fields of `Schedule` (n_steps, batch_size, learning_rate, n_test). A
    model comes out the same whatever else is trained beside it. Raises InputError for values out of range. After
    Elhage et al. 2022, "Demonstrating Superposition".
    """
    started = datetime.now(UTC)
    check_sizes(n_features, n_hidden)
    where, seeds, given = resolve_device(device), seeds_from(n_seeds, seed), sparsities(sparsity)
    settings = schedule_of(schedule, Schedule())
    density = densities(given, where)
    of_features = importances(importance, n_features, density)
    kind = architecture(model, tied=True)
    source = Draws(density, n_features, together, group_size)
    found = optimise(kind, source, of_features, n_hidden, seeds, settings, f"{model} models")
    axes = (sparsity_axis(given), Axis("seed", seeds))
    optimum = closed_forms.linear_optimum(of_features, density, n_hidden)
    return ToyModels(
        values=_values(found, axes) | {"optimum": Values(optimum, axes[:1], "expected loss", "best linear model")},
        settings={"model": model, "n_features": n_features, "n_hidden": n_hidden, "importance": of_features[0].tolist()}
        | {"sparsity": given, "together": together, "group_size": group_size, "n_seeds": n_seeds, "seed": seed}
        | asdict(settings),
        provenance=source_of(model, kind.formula, where, seed, started),
        plots=_plots(model, n_hidden, n_seeds),
    )


def _values(found: Trained, axes: tuple[Axis, Axis]) -> dict[str, Values]:
    """What is kept of models with tied weights; axes: of the settings, and of the seeds."""
    setting = axes[0]
    weights = {name: weight.cpu() for name, weight in found.weights.items()}
    matrix, loss = weights["W"], found.loss.cpu()
    n_hidden, n_features = matrix.shape[-2:]
    feature, other = numbered("feature", n_features), numbered("other_feature", n_features)
    best = best_of(loss, matrix)
    counts = (matrix.square().sum(-2) >= REPRESENTED).sum(-1)
    shared = torch.where(best.square().sum(-2) >= FAINT, interference(best), float("nan"))
    represented = Values(counts, axes, "features", "features with a squared length of 0.25 or more")
    made = {
        "loss": Values(loss, axes, "expected loss"),
        "best_gram": Values(gram(best), (setting, feature, other), "WᵀW"),
        "best_norm": Values(best.norm(dim=-2), (setting, feature), "‖Wᵢ‖"),
        "best_interference": Values(shared, (setting, feature), "Σ (Ŵᵢ·Wⱼ)²"),
        "dimensionality": Values(dimensionality(matrix), (*axes, feature), "dimensions"),
        "error": Values(found.errors.cpu(), (*axes, feature), "mean squared error"),
        "represented": represented,
        "W": Values(matrix, (*axes, numbered("hidden", n_hidden), feature)),
        "bias": Values(weights["bias"], (*axes, feature)),
    }
    for name, part in mean_with_interval(represented, over="seed").items():
        made[f"represented_{name}"] = part
    if n_hidden == 2:
        made["vectors"] = Values(best.mT, (setting, feature, Axis("coordinate", ("h₁", "h₂"))))
    return made


def _plots(model: str, n_hidden: int, n_seeds: int) -> tuple[Plot, ...]:
    figure = f'Compare with {PAPER}, "Demonstrating Superposition", the figures of WᵀW and ‖Wᵢ‖'
    best = f"the model with the least loss of {n_seeds}" if n_seeds > 1 else "one model"
    plots = [
        Plot(
            "heatmap",
            "best_gram",
            x="other_feature",
            y="feature",
            series="sparsity",
            title=f"WᵀW by sparsity, {model} model",
            caption=f"WᵀW of {best} at each sparsity S (above each panel); features from the most to the least "
            f"important, blue positive, orange negative. {figure}.",
            options={"zero_centred": True, "square": True, "colour_limit": 1.0},
        ),
        _by_feature(
            "best_norm", f"How long each feature's vector is, {model} model", "Length of each feature's vector"
        ),
        _by_feature(
            "best_interference",
            f"What each feature shares, {model} model",
            "Squared overlap of the other features with each feature's direction (the paper's colour; at 1 a feature "
            "has no dimension of its own; grey: squared length below 0.1)",
        ),
        Plot(
            "lines",
            "represented_mean",
            x="sparsity",
            low="represented_low",
            high="represented_high",
            title=f"Features represented, {model} model",
            caption=f"Features with a squared length of 0.25 or more, by sparsity, in the mean over {n_seeds} seeds; "
            "the dashed line is the number of hidden dimensions.",
            options={"references": {"dimensions": n_hidden}, "y_label": "features"},
        ),
    ]
    if n_hidden == 2:
        plots.insert(0, _vectors_plot(f"Feature vectors in two dimensions, {model} model", best))
    return tuple(plots[:2] if model == "linear" else plots)  # there is nothing else to see of it


def _vectors_plot(title: str, best: str) -> Plot:
    """Arrows in the plane, as in the first figure of the paper."""
    return Plot(
        "vectors",
        "vectors",
        x="coordinate",
        series="sparsity",
        title=title,
        caption=f"The columns of W of {best} at each sparsity S (above each panel); the circle has radius 1. "
        f"Compare with {PAPER}, the first figure.",
    )


def _by_feature(values: str, title: str, words: str) -> Plot:
    return Plot(
        "heatmap",
        values,
        x="feature",
        y="sparsity",
        title=title,
        caption=f"{words}, for the best model at each sparsity; features from the most to the least important.",
        options={"y_label": "sparsity S", "colour_range": [0, 1.2] if values == "best_norm" else [0, 1.0]},
    )
