"""The figures of steering: behaviour and side effects over strengths, and by layer beside random directions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from interp.probing.causal.changed_tokens import place_words
from interp.probing.causal.curves import Curve, curve_plot, interval_note
from interp.probing.causal.effects import Trials, effect_words
from interp.results import Axis, Plot, Values, range_words


def steering_plots(trials: Trials, values: dict[str, Values], probe: str, n_random: int, n_on_text: int) -> list[Plot]:
    """Effects and side effects over strengths, a line a layer; and at strength 1 (or the next) beside random moves."""
    prepared = trials.prepared
    task, group_is = prepared.data.name.replace("_", " "), prepared.data.group_is
    direction = f"the {probe.replace('_', ' ')} direction of {prepared.question.site}"
    _, over = effect_words(trials)
    effect = (
        f"Turn of the margin towards the answers of the other class, as states are moved along {direction}"
        if trials.margin is not None
        else f"KL divergence from the unchanged prediction, as states are moved along {direction}"
    )
    bands = interval_note(len(values["effect"].axis("strength")) + 1, int(trials.groups.max()) + 1, group_is)
    shown = nearest_strength(values)
    layer = Axis("layer", prepared.layers)
    plots = [
        _over_strengths(
            values,
            "effect",
            title=f"{task}: steering at {prepared.position!r}, behaviour",
            caption=(
                f"{effect}; strength 1 is the distance between the class means; changed is "
                f"{place_words(trials.changed)}; {over}; {bands}."
            ),
            caveat="Far from where states lie, a model does what it never did: trust small strengths more than large.",
        ),
        _over_strengths(
            values,
            "text_kl",
            title=f"{task}: steering, side effects on unrelated text",
            caption=(
                f"KL divergence of the next-token prediction from the unchanged one, when the same moves are made at "
                f"{len(trials.text.places)} tokens of {trials.text_name}, towards each class at half of them."
            ),
        ),
    ]
    turn = "Turn of the margin" if trials.margin is not None else "KL divergence on the task"
    for what, what_it_is, words, draws in (
        ("effect", turn, "behaviour", n_random),
        ("text_kl", "KL divergence on unrelated text", "unrelated text", min(n_random, n_on_text)),
    ):
        random = values[f"random_{what}"].sel(strength=shown).data
        curves = [
            Curve.of("along the probe", values, what, strength=shown),
            Curve.of_draws("random, same size", random),
        ]
        plots.append(
            curve_plot(
                values,
                f"curves: {what} by layer",
                curves,
                layer,
                values[what].unit,
                uneven="x",
                title=f"{task}: steering by strength {shown} beside random directions, {words}",
                caption=(
                    f"{what_it_is} of strength {shown} by layer, and of random directions along which states are "
                    f"moved as far: {range_words(draws)}."
                ),
            )
        )
    return plots


def nearest_strength(values: Mapping[str, Values]) -> str:
    """Strength 1 where it was tried, else the one nearest to it."""
    labels = [str(label) for label in values["effect"].axis("strength").labels]
    return min(labels, key=lambda label: abs(float(label) - 1))


def _over_strengths(values: dict[str, Values], what: str, **plot: Any) -> Plot:
    """A line a layer over strengths, with the point 0 where nothing is moved."""
    item = values[what]
    labels = [float(label) for label in item.axis("strength").labels]
    order = sorted([*labels, 0.0])
    at = order.index(0.0)

    def padded(data: Tensor) -> Tensor:
        return torch.cat([data[:, :at], torch.zeros(len(data), 1), data[:, at:]], dim=1)

    curves = []
    for i, layer in enumerate(item.axis("layer").labels):
        ends = [padded(values[what + end].data)[i] for end in ("", "_low", "_high")]
        curves.append(Curve(f"layer {layer}", *ends))
    axis = Axis("strength", tuple(f"{label:g}" for label in order))
    return curve_plot(values, f"curves: {what} by strength", curves, axis, item.unit, uneven="curve", **plot)
