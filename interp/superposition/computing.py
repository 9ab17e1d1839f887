"""Computation in superposition: a hidden ReLU layer that computes |x| of more features than it has neurons for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, ClassVar

import pandas as pd
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
from interp.superposition.finishing import at, behind, unfinished
from interp.superposition.optimising import Schedule, Trained, optimise
from interp.superposition.sampling import Draws

USUAL = Schedule(n_steps=4000)
LEARNED = 0.5
"""A feature is computed when its error is below this share of what a constant output leaves."""


DEDICATED = "a closed form (two neurons for each of the most important features)"


class AbsoluteValues(Result):
    """loss [sparsity, seed]; dedicated [sparsity]: the closed form of two neurons for each of the most important
    features and none for the others. relative [sparsity, seed]: their ratio; ratio_mean, _low, _high over seeds.
    computed [sparsity, seed]: features whose error is below half of their variance. concentration [sparsity, seed]: how
    far a neuron reads one feature; mean, low, high over seeds. weights_in, weights_out [sparsity, neuron, feature]: W₁
    and W₂ᵀ of the model with the least loss, neurons sorted by the feature they read most.
    """

    kind: ClassVar[str] = "superposition_absolute_values"

    @property
    def notes(self) -> list[str]:
        """What was found, a sentence each."""
        alone, given = self.values["mean"].data.tolist(), self.values["mean"].axes[0].labels
        told = ", ".join(f"{share:.2f} at S = {one}" for share, one in zip(alone, given))
        short = self.texts.get("unfinished", "")
        notes = [f"Share of a neuron's squared input weights on one feature: {told}.{short}"]
        ratio = self.values["relative"].data.amin(1).tolist()
        if all(one < float("inf") for one in ratio):
            told = ", ".join(f"{one:.2f} at S = {at}" for one, at in zip(ratio, given))
            notes.append(f"Least loss over that of two neurons for each of the most important features: {told}.")
        return notes

    def table(self) -> pd.DataFrame:
        """A row a sparsity."""
        loss, computed = self.values["loss"].data, self.values["computed"].data
        return pd.DataFrame(
            {
                "S": self.values["loss"].axes[0].labels,
                "best loss": loss.amin(1).tolist(),
                "two neurons each": self.values["dedicated"].data.tolist(),
                "features computed": [f"{int(row.min())} to {int(row.max())}" for row in computed],
                "neuron on one feature": self.values["mean"].data.tolist(),
            }
        )


def absolute_values(
    n_features: int = 20,
    n_hidden: int = 12,
    *,
    sparsity: float | Sequence[float] = (0.0, 0.7, 0.9, 0.97, 0.99),
    importance: float | Sequence[float] = 0.8,
    n_seeds: int = 5,
    seed: int = 0,
    device: str = "auto",
    **schedule: Any,
) -> AbsoluteValues:
    """Train y = ReLU(W₂ ReLU(W₁x) + b) to give |x| for features on [-1, 1], and see how neurons are shared.

    W₂ starts as |W₁|ᵀ, so that every output is reached from both signs of its feature. schedule: fields of `Schedule`.
    Raises InputError for values out of range. After Elhage et al. 2022, "Computation in Superposition".
    """
    started = datetime.now(UTC)
    check_sizes(n_features, n_hidden, more_hidden=True)
    where, seeds, given = resolve_device(device), seeds_from(n_seeds, seed), sparsities(sparsity)
    settings = schedule_of(schedule, USUAL)
    kind, density = architecture("absolute"), densities(given, where)
    of_features = importances(importance, n_features, density)
    source = Draws(density, n_features, signed=True)
    found = optimise(kind, source, of_features, n_hidden, seeds, settings, "absolute values")
    base = closed_forms.dedicated_absolute(of_features, density, n_hidden).cpu()
    learned = found.errors < LEARNED * closed_forms.variance(density)[:, None, None]
    axes = (sparsity_axis(given), Axis("seed", seeds))
    constant = (of_features.sum(-1) * closed_forms.variance(density)).cpu()
    short = behind(found.loss.amin(1).cpu(), base, constant)
    return AbsoluteValues(
        values=_values(found, base, learned.sum(-1).cpu(), axes),
        settings={"n_features": n_features, "n_hidden": n_hidden, "importance": of_features[0].tolist()}
        | {"sparsity": given, "n_seeds": n_seeds, "seed": seed}
        | asdict(settings),
        provenance=source_of("absolute values", kind.formula, where, seed, started),
        plots=_plots(n_hidden, n_seeds, base, order_of(of_features)),
        texts={"unfinished": unfinished(at(short, "S", axes[0].labels), DEDICATED)},
    )


def _values(
    found: Trained, base: Float[Tensor, " setting"], computed: Tensor, axes: tuple[Axis, Axis]
) -> dict[str, Values]:
    loss, into, out = found.loss.cpu(), found.weights["W"].cpu(), found.weights["W_out"].cpu().mT
    n_hidden, n_features = into.shape[-2:]
    alone = Values(concentration(into), axes, "share of one feature", "of what a neuron reads, mean over neurons")
    relative = Values(loss / base[:, None], axes, "loss / loss of dedicated neurons")
    order = best_of(loss, into).abs().argmax(-1).argsort(stable=True, dim=-1)[..., None].expand(-1, -1, n_features)
    shown = (axes[0], numbered("neuron", n_hidden), numbered("feature", n_features))
    made = {
        "loss": Values(loss, axes, "expected loss"),
        "dedicated": Values(base, axes[:1], "expected loss"),
        "relative": relative,
        "computed": Values(computed, axes, "features"),
        "concentration": alone,
        "weights_in": Values(best_of(loss, into).gather(1, order), shown, "weight"),
        "weights_out": Values(best_of(loss, out).gather(1, order), shown, "weight"),
        "W_in": Values(into, (*axes, *shown[1:])),
        "W_out": Values(out, (*axes, *shown[1:])),
        "bias": Values(found.weights["bias"].cpu(), (*axes, shown[2])),
    }
    made |= mean_with_interval(alone, over="seed")
    return made | {f"ratio_{name}": part for name, part in mean_with_interval(relative, over="seed").items()}


def _plots(n_hidden: int, n_seeds: int, base: Float[Tensor, " setting"], order: str) -> tuple[Plot, ...]:
    figure = f'{PAPER}, "Computation in Superposition"'
    plots = [
        Plot(
            "heatmap",
            "weights_in",
            x="feature",
            y="neuron",
            series="sparsity",
            title="What neurons of the |x| model read",
            caption=f"W₁ of the model with the least loss of {n_seeds} at each sparsity S (above each panel); {order}, "
            "neurons by the feature they read most: a blue and an orange cell in "
            f"one column are the two halves of |x|. Compare with {figure}, the figures of neurons' weights.",
            options={"zero_centred": True, "colour_limit": 1.5},
        ),
        Plot(
            "lines",
            "mean",
            x="sparsity",
            low="low",
            high="high",
            title="How far a neuron of the |x| model reads one feature",
            caption="Share of the largest weight in the squared weights into a neuron, in the mean over neurons, "
            f"{interval_words(n_seeds, 'seeds')}: monosemantic neurons at 1, polysemantic ones below.",
            options={"y_range": [0, 1.05], "x_label": "sparsity S"},
        ),
    ]
    if bool((base > 0).all()):
        plots.append(
            Plot(
                "lines",
                "ratio_mean",
                x="sparsity",
                low="ratio_low",
                high="ratio_high",
                title="Loss against that of dedicated neurons",
                caption=f"Expected loss over that of two neurons for each of the {n_hidden // 2} most important "
                f"features and none for the others, {interval_words(n_seeds, 'seeds')}; below 1 computing in "
                "superposition pays. Single starts differ much: the sentences quote the best one, this is their mean.",
                options={"references": {"dedicated": 1.0}, "x_label": "sparsity S", "y_label": "ratio of losses"},
            )
        )
    return tuple(plots)
