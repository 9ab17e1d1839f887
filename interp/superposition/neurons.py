"""A privileged basis: with a ReLU in the hidden layer features line up with neurons, without it any rotation serves."""

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
from interp.superposition import closed_forms
from interp.superposition.architectures import architecture
from interp.superposition.asking import (
    PAPER,
    best_of,
    check_sizes,
    densities,
    importances,
    numbered,
    order_of,
    schedule_of,
    seeds_from,
    source_of,
    sparsities,
    sparsity_axis,
)
from interp.superposition.feature_vectors import concentration
from interp.superposition.finishing import BY_HAND, LINEAR, at, behind, unfinished
from interp.superposition.optimising import Schedule, optimise
from interp.superposition.sampling import Draws

MODELS = ("relu", "relu_hidden")
NAMES = ("linear hidden layer", "ReLU hidden layer")


class PrivilegedBasis(Result):
    """concentration [model, sparsity, seed]: max Wₖᵢ² / Σᵢ Wₖᵢ², in the mean over neurons k (1: every neuron reads one
    feature); mean, low, high over seeds. loss [model, sparsity, seed]. weights [panel, hidden, feature]: W of the
    models with the least loss.
    """

    kind: ClassVar[str] = "superposition_privileged_basis"

    @property
    def notes(self) -> list[str]:
        """What was found, a sentence."""
        linear, relu = self.values["mean"].data
        given = self.values["mean"].axes[1].labels
        told = ", ".join(f"{a:.2f} against {b:.2f} at S = {one}" for a, b, one in zip(relu, linear, given))
        what = f"Share of a neuron's squared weights on one feature, ReLU against linear hidden layer: {told}."
        return [f"{what}{self.texts.get('unfinished', '')}"]

    def table(self) -> pd.DataFrame:
        """A row a sparsity: concentration and least loss, without and with a ReLU in the hidden layer."""
        found, loss = self.values["mean"].data, self.values["loss"].data.amin(-1)
        rows: dict[str, Any] = {"S": self.values["mean"].axes[1].labels}
        rows |= {f"{name.split()[0]}: on one feature": found[i].tolist() for i, name in enumerate(NAMES)}
        rows |= {f"{name.split()[0]}: loss": loss[i].tolist() for i, name in enumerate(NAMES)}
        return pd.DataFrame(rows)


def privileged_basis(
    n_features: int = 10,
    n_hidden: int = 5,
    *,
    sparsity: float | Sequence[float] = (0.3, 0.5, 0.7, 0.9, 0.97),
    importance: float | Sequence[float] = 0.75,
    n_seeds: int = 5,
    seed: int = 0,
    device: str = "auto",
    **schedule: Any,
) -> PrivilegedBasis:
    """Train models with a linear and with a ReLU hidden layer, and ask how far neurons stand for single features.

    The linear hidden layer is the control: nothing there prefers any basis. schedule: fields of `Schedule`. Raises
    InputError for values out of range. After Elhage et al. 2022, "Superposition in a Privileged Basis".
    """
    started = datetime.now(UTC)
    check_sizes(n_features, n_hidden)
    where, seeds, given = resolve_device(device), seeds_from(n_seeds, seed), sparsities(sparsity)
    settings = schedule_of(schedule, Schedule())
    density = densities(given, where)
    of_features = importances(importance, n_features, density)
    found = []
    for model, name in zip(MODELS, NAMES):
        source = Draws(density, n_features)
        found.append(optimise(architecture(model), source, of_features, n_hidden, seeds, settings, name))
    matrix = torch.stack([one.weights["W"].cpu() for one in found])
    loss = torch.stack([one.loss.cpu() for one in found])
    axes = (Axis("model", NAMES), sparsity_axis(given), Axis("seed", seeds))
    alone = Values(concentration(matrix), axes, "share of one feature", "of what a neuron reads, mean over neurons")
    panels = Axis("panel", tuple(f"{name.split()[0]}, S = {one:g}" for name in NAMES for one in given))
    best = best_of(loss, matrix).flatten(0, 1)
    neurons = (numbered("hidden", n_hidden), numbered("feature", n_features))
    return PrivilegedBasis(
        values={"concentration": alone, "loss": Values(loss, axes, "expected loss")}
        | mean_with_interval(alone, over="seed")
        | {"weights": Values(best, (panels, *neurons), "weight"), "W": Values(matrix, (*axes, *neurons))},
        settings={"n_features": n_features, "n_hidden": n_hidden, "importance": of_features[0].tolist()}
        | {"sparsity": given, "n_seeds": n_seeds, "seed": seed}
        | asdict(settings),
        provenance=source_of("privileged basis", architecture("relu_hidden").formula, where, seed, started),
        plots=_plots(n_seeds, order_of(of_features)),
        texts={"unfinished": _unfinished(loss.amin(-1), of_features.cpu(), density.cpu(), n_hidden, axes[1].labels)},
    )


def _unfinished(
    loss: Float[Tensor, "model setting"],
    importance: Float[Tensor, "setting feature"],
    density: Float[Tensor, " setting"],
    n_hidden: int,
    labels: Sequence[object],
) -> str:
    """A sentence for each hidden layer. Behind a ReLU there are no opposite pairs, but all that a linear model can."""
    constant = importance.sum(-1) * closed_forms.variance(density)
    pairs = closed_forms.best_by_hand(importance, density, n_hidden)
    alone = closed_forms.linear_optimum(importance, density, n_hidden)
    known = ((pairs, BY_HAND), (alone, LINEAR))
    return "".join(
        unfinished(at(behind(one, least, constant), "S", labels), f"{words} ({name})")
        for name, one, (least, words) in zip(NAMES, loss, known)
    )


def _plots(n_seeds: int, order: str) -> tuple[Plot, ...]:
    figure = f'{PAPER}, "Superposition in a Privileged Basis"'
    return (
        Plot(
            "heatmap",
            "weights",
            x="feature",
            y="hidden",
            series="panel",
            title="W with a linear and with a ReLU hidden layer",
            caption=f"Weights of the models with the least loss of {n_seeds}: rows are hidden dimensions or neurons, "
            f"columns {order}. Compare with {figure}, the figures of W.",
            options={"zero_centred": True, "y_label": "neuron", "colour_limit": 1.0},
        ),
        Plot(
            "lines",
            "mean",
            x="sparsity",
            series="model",
            low="low",
            high="high",
            title="How far a neuron reads one feature",
            caption="Share of the largest weight in the squared weights of a neuron, in the mean over neurons, "
            f"{interval_words(n_seeds, 'seeds')}: 1 where every neuron is monosemantic.",
            options={"y_range": [0, 1.05], "x_label": "sparsity S"},
        ),
    )
