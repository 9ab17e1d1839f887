"""`train`: toy models for several sparsities and seeds at once, and what became of their features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, ClassVar, NamedTuple

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import InputError
from interp.models import resolve_device
from interp.results import Axis, Plot, Result, Values, interval_words, mean_with_interval
from interp.superposition import closed_forms
from interp.superposition.architectures import architecture
from interp.superposition.asking import (
    PAPER,
    best_of,
    check_sizes,
    densities,
    importances,
    numbered,
    numbers_once,
    order_of,
    over_inverse_density,
    schedule_of,
    seeds_from,
    source_of,
    sparsities,
    sparsity_axis,
)
from interp.superposition.feature_vectors import dimensionality, gram, interference
from interp.superposition.finishing import BY_HAND, LINEAR, at, behind, linear_models, unfinished
from interp.superposition.optimising import Schedule, Trained, optimise
from interp.superposition.polytope_groups import REPRESENTED, shape_of
from interp.superposition.sampling import Draws, Moments

SYMBOLS = {"sparsity": "S", "importance": "I"}
"""What models of one result differ in, and the letter for it."""
USUAL = Schedule()
USUAL_LINEAR = Schedule(n_steps=2000, learning_rate=0.02)
"""At 0.005 one start of five was still on its way at S = 0 after 2000 steps, and lost 1.09 times the least."""
FAINT = 0.1
"""Features of a smaller squared length are too faint for what they share to be shown."""


class ToyModels(Result):
    """Of one importance and several sparsities, or the other way round; the first axis says which.

    loss, standard_error [sparsity, seed]: expected loss, exact for linear models (standard error 0) and else
    measured on fresh inputs. best_gram [sparsity, feature, other_feature], best_norm, best_interference [sparsity,
    feature]: WᵀW, ‖Wᵢ‖ and Σ (Ŵᵢ·Wⱼ)² of the model with the least loss. dimensionality, error [sparsity, seed,
    feature]: of every model. represented [sparsity, seed]: features of squared length 0.25 or more;
    represented_mean, _low, _high [inverse_density] (or importance) over seeds. W [sparsity, seed, hidden, feature],
    bias. optimum [sparsity]: the loss of principal components. vectors [sparsity, feature, coordinate], for two
    hidden dimensions.
    """

    kind: ClassVar[str] = "superposition_toy_models"

    def weights(
        self, sparsity: float | None = None, seed: int | None = None, *, importance: float | None = None
    ) -> Float[Tensor, "hidden feature"]:
        """W of one model: the one with the least loss, or that of a seed. Give what the models differ in."""
        over = self.values["loss"].axes[0].name
        setting = {"sparsity": sparsity, "importance": importance}[over]
        if setting is None:
            raise InputError(f"these models differ in {over}; give the {over} of one")
        at = {over: f"{setting:g}"}
        matrices, losses = self.values["W"].sel(**at), self.values["loss"].sel(**at).data
        return matrices.data[int(losses.argmin())] if seed is None else matrices.sel(seed=seed).data

    @property
    def notes(self) -> list[str]:
        """What was found, and where the training was too short for it."""
        counts, over = self.values["represented"].data, self.values["loss"].axes[0]
        told = ", ".join(f"{_range_of(row)} at {SYMBOLS[over.name]} = {one}" for row, one in zip(counts, over.labels))
        n, m = self.settings["n_features"], self.settings["n_hidden"]
        dimensions = f"{m} dimension{'s' if m > 1 else ''}"
        notes = [f"Of {n} features in {dimensions} are represented: {told}.{self.texts.get('unfinished', '')}"]
        return notes + [str(self.texts[name]) for name in ("linear", "measured") if self.texts.get(name)]

    def table(self) -> pd.DataFrame:
        """A row a setting: losses, features represented, and the shapes their vectors form in the best model."""
        loss, counts = self.values["loss"].data, self.values["represented"].data
        over = self.values["loss"].axes[0]
        best = best_of(loss, self.values["W"].data)
        errors = {}
        if "standard_error" in self.values and self.settings["model"] != "linear":
            errors = {"±": best_of(loss, self.values["standard_error"].data).tolist()}
        return pd.DataFrame(
            {SYMBOLS[over.name]: over.labels, "best loss": loss.amin(1).tolist()}
            | errors
            | {
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
    neighbouring features are present. schedule: fields of `Schedule` (n_steps, batch_size, learning_rate, n_test;
    the loss of linear models is measured exactly). A model comes out the same whatever else is trained beside it.
    Raises InputError for values out of range. After Elhage et al. 2022, "Demonstrating Superposition".
    """
    check_sizes(n_features, n_hidden)
    given, where = sparsities(sparsity), resolve_device(device)
    density = densities(given, where)
    of_features = importances(importance, n_features, density)
    asked = {"sparsity": given, "importance": of_features[0].tolist()}
    models = _Models(model, n_features, n_hidden, together, group_size, seeds_from(n_seeds, seed))
    return _trained(models, sparsity_axis(given), density, of_features, _schedule(model, schedule), asked)


def importance_sweep(
    importance: Sequence[float] = (0.4, 0.6, 0.7, 0.8, 0.9, 1.0),
    n_features: int = 20,
    n_hidden: int = 5,
    *,
    sparsity: float = 0.9,
    model: str = "relu",
    n_seeds: int = 5,
    seed: int = 0,
    device: str = "auto",
    **schedule: Any,
) -> ToyModels:
    """Train toy models of one sparsity that differ in how fast importance falls from feature to feature.

    importance: numbers I; feature i weighs Iⁱ in the loss (1: all alike). The rest as in `train`. Raises InputError for
    values out of range. After Elhage et al. 2022, "Experiment setup", where I is 0.7 or 0.9.
    """
    check_sizes(n_features, n_hidden)
    given = numbers_once("importance", importance)
    density = densities(sparsities(sparsity) * len(given), resolve_device(device))
    of_features = torch.cat([importances(one, n_features, density[:1]) for one in given])
    models = _Models(model, n_features, n_hidden, "independent", 2, seeds_from(n_seeds, seed))
    axis = Axis("importance", tuple(f"{one:g}" for one in given))
    asked = {"sparsity": sparsity, "importance": given}
    return _trained(models, axis, density, of_features, _schedule(model, schedule), asked)


def _schedule(model: str, options: dict[str, Any]) -> Schedule:
    return schedule_of(options, USUAL_LINEAR if model == "linear" else USUAL)


class _Models(NamedTuple):
    """What all models of a result have in common."""

    model: str
    n_features: int
    n_hidden: int
    together: str
    group_size: int
    seeds: tuple[int, ...]


def _trained(
    models: _Models,
    over: Axis,
    density: Float[Tensor, " setting"],
    importance: Float[Tensor, "setting feature"],
    schedule: Schedule,
    asked: dict[str, Any],
) -> ToyModels:
    started = datetime.now(UTC)
    kind = architecture(models.model, tied=True)
    source = Draws(density, models.n_features, models.together, models.group_size)
    test = None
    if models.model == "linear":
        asked_for = models.n_features, models.together, models.group_size
        test = Moments(density, closed_forms.covariance(density.double(), *asked_for))
    found = optimise(kind, source, importance, models.n_hidden, models.seeds, schedule, f"{models.model} models", test)
    optimum, short = _compared(models, found.loss.amin(1).cpu(), density.cpu(), importance.cpu(), over)
    common = models._asdict()
    seeds = common.pop("seeds")
    return ToyModels(
        values=_values(found, (over, Axis("seed", seeds)))
        | {"optimum": Values(optimum, (over,), "expected loss", "best linear model")},
        settings=common | asked | {"n_seeds": len(seeds), "seed": seeds[0]} | asdict(schedule),
        provenance=source_of(models.model, kind.formula, density.device, seeds[0], started),
        plots=_plots(models, over.name, order_of(importance)),
        texts={"unfinished": short, **_of_losses(models, found, optimum, importance.cpu(), schedule)},
    )


def _of_losses(
    models: _Models,
    found: Trained,
    optimum: Float[Tensor, " setting"],
    importance: Float[Tensor, "setting feature"],
    schedule: Schedule,
) -> dict[str, str]:
    """Of linear models whether they are what theory says, of others how well their losses are known."""
    if models.model == "linear":
        kept = found.weights["W"].cpu().square().sum(-2) >= REPRESENTED
        return {"linear": linear_models(found.loss.cpu(), optimum, kept, importance, models.n_hidden)}
    n = max(1, schedule.n_test // schedule.batch_size) * schedule.batch_size
    return {
        "measured": f"Losses are means over {n:,} drawn inputs, ± the standard error of the best; the best linear "
        "model's is exact, and so a loss may seem to be below what is possible."
    }


def _compared(
    models: _Models,
    loss: Float[Tensor, " setting"],
    density: Float[Tensor, " setting"],
    importance: Float[Tensor, "setting feature"],
    over: Axis,
) -> tuple[Float[Tensor, " setting"], str]:
    """The loss of principal components, and where trained models lose more than a solution that is known."""
    asked = models.together, models.group_size
    covariance = closed_forms.covariance(density, models.n_features, *asked)
    linear = closed_forms.principal_components(importance, covariance, models.n_hidden)
    known, words = linear, LINEAR
    if models.model == "relu":
        known, words = closed_forms.best_by_hand(importance, density, models.n_hidden, *asked), BY_HAND
    short = behind(loss, known, importance.sum(-1) * closed_forms.variance(density))
    return linear, unfinished(at(short, SYMBOLS[over.name], over.labels), words)


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
        "standard_error": Values(found.standard_error.cpu(), axes, "expected loss", "standard error of the loss"),
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
        made[f"represented_{name}"] = over_inverse_density(part)
    if n_hidden == 2:
        made["vectors"] = Values(best.mT, (setting, feature, Axis("coordinate", ("h₁", "h₂"))))
    return made


def _plots(models: _Models, over: str, order: str) -> tuple[Plot, ...]:
    model, n_hidden, n_seeds = models.model, models.n_hidden, len(models.seeds)
    figure = f'Compare with {PAPER}, "Demonstrating Superposition", the figures of WᵀW and ‖Wᵢ‖'
    best = f"the model with the least loss of {n_seeds}" if n_seeds > 1 else "one model"
    at_each = f"at each {over} {SYMBOLS[over]} (above each panel)"
    plots = [
        Plot(
            "heatmap",
            "best_gram",
            x="other_feature",
            y="feature",
            series=over,
            title=f"WᵀW by {over}, {model} model",
            caption=f"WᵀW of {best} {at_each}; {order}, blue positive, orange negative. {figure}.",
            options={"zero_centred": True, "square": True, "colour_limit": 1.0},
        ),
        _by_feature(
            over,
            order,
            "best_norm",
            f"How long each feature's vector is, {model} model",
            "Length of each feature's vector",
        ),
        _by_feature(
            over,
            order,
            "best_interference",
            f"What each feature shares, {model} model",
            "Squared overlap of the other features with each feature's direction (the paper's colour; at 1 a feature "
            "has no dimension of its own; grey: squared length below 0.1)",
        ),
        _counts_plot(models, over),
    ]
    if n_hidden == 2:
        plots.insert(0, _vectors_plot(over, f"Feature vectors in two dimensions, {model} model", f"{best} {at_each}"))
    return tuple(plots[:2] if model == "linear" else plots)  # there is nothing else to see of it


def _counts_plot(models: _Models, over: str) -> Plot:
    """How many features are represented: against 1/(1 - S), as in the geometry figures, or against importance."""
    sparse = over == "sparsity"
    many = f", {interval_words(len(models.seeds), 'seeds')}" if len(models.seeds) > 1 else ""
    return Plot(
        "lines",
        "represented_mean",
        x="inverse_density" if sparse else over,
        low="represented_low",
        high="represented_high",
        title=f"Features represented, {models.model} model",
        caption=f"Features with a squared length of 0.25 or more, by {over}{many}; "
        "the dashed line is the number of hidden dimensions.",
        options={"references": {"dimensions": models.n_hidden}, "y_label": "features"}
        | ({"log_x": True, "x_label": "1/(1 - S)"} if sparse else {}),
    )


def _vectors_plot(over: str, title: str, best: str) -> Plot:
    """Arrows in the plane, as in the first figure of the paper."""
    return Plot(
        "vectors",
        "vectors",
        x="coordinate",
        series=over,
        title=title,
        caption=f"The columns of W of {best}; the circle has radius 1. Compare with {PAPER}, the first figure.",
    )


def _by_feature(over: str, order: str, values: str, title: str, words: str) -> Plot:
    return Plot(
        "heatmap",
        values,
        x="feature",
        y=over,
        title=title,
        caption=f"{words}, for the best model at each {over}; {order}.",
        options={"y_label": f"{over} {SYMBOLS[over]}", "colour_range": [0, 1.2] if values == "best_norm" else [0, 1.0]},
    )
