"""`steer_along`: do answers turn when states are moved along a probe's direction, towards the other class?

Each state is moved by a multiple of the distance between the class means, measured along the direction: strength 1 puts
the mean of one class where that of the other was. Random directions, moved as far, stand beside it (counterfactual use
of probe directions: Giulianelli et al. 2018, "Under the Hood"; Marks & Tegmark 2023, "The Geometry of Truth", section
on interventions).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import InputError, unknown
from interp.hooks.interventions import Intervention, steer
from interp.hooks.selecting import Positions
from interp.hooks.sites import Site
from interp.models import identity
from interp.probing.causal.affine import random_basis
from interp.probing.causal.effects import TEXT_DRAWS, Trials, share_at_least, stacked
from interp.probing.causal.preparing import Prepared, Question, prepare
from interp.probing.causal.stages import Edit
from interp.probing.causal.steering_plots import steering_plots
from interp.probing.labelled import LabelledTokens
from interp.probing.solving.closed_forms import fit_mean_difference
from interp.probing.solving.decorrelating import decorrelate
from interp.probing.solving.families import Family
from interp.probing.solving.softmax_problems import Problems
from interp.results import Axis, Result, Values
from interp.runs import progress, provenance

STRENGTHS = (-1.0, 0.5, 1.0, 2.0, 4.0)
PROBES = ("mean_difference", "logistic")
L2 = 0.01
"""Penalty of the logistic probe whose direction is used."""


class SteeringResult(Result):
    """What moving states along a direction does, by layer and strength (0: not moved).

    effect [layer, strength] with `_low`, `_high`: how far the margin turns towards the other class (logits), or KL
    where the task has no answers (nats); effect_each [..., example]; turned: share that prefers the other class; kl;
    text_kl and text_loss on unrelated text (nats). Controls: random_effect, random_text_kl, random_text_loss [layer,
    strength, draw]; p [layer, strength]. direction [layer, feature]: of length 1, from the first class to the second;
    distance [layer]: between the class means along it; share_of_norm [layer]: that as a share of the states' length.
    """

    kind: ClassVar[str] = "steering_along"

    def intervention(self, layer: int, strength: float = 1.0, positions: Positions = None) -> Intervention:
        """For `interp.intervene`: move towards the second class (negative strength: towards the first)."""
        along = self.values["direction"].sel(layer=layer).data
        site = Site(str(self.settings["site"]), layer)
        return steer(site, along, strength * float(self.values["distance"].sel(layer=layer).data), positions=positions)


def steer_along(
    model: Any,
    data: LabelledTokens | str,
    *,
    probe: str = "mean_difference",
    strengths: Sequence[float | int] = STRENGTHS,
    n_random: int = 20,
    **question: Any,
) -> SteeringResult:
    """Move the states of held-out examples along a probe's direction towards the other class; measure their answers.

    probe: "mean_difference" or "logistic", learnt from two thirds of the groups. strengths: in distances between the
    class means; negative ones move away from the other class. n_random: draws of random directions, each state moved as
    far. question: what `Question` describes. On unrelated text every other token is moved towards each class. Raises
    InputError for more than two classes, no strengths, and what `prepare` refuses.
    """
    started = datetime.now()
    asked = Question(**question)
    if probe not in PROBES:
        raise unknown("direction", probe, PROBES)
    if not strengths or len(set(strengths)) < len(strengths) or 0 in strengths or n_random < 0:
        raise InputError("strengths are different numbers other than 0, at least one; n_random is 0 or more")
    prepared = prepare(model, data, asked)
    if prepared.n_classes != 2:
        raise InputError(
            f"a direction leads from one class to another, and there are {prepared.n_classes}; choose two with "
            f"data.only([...]) or --classes"
        )
    directions = directions_of(prepared, probe)
    trials = Trials(prepared)
    values = (
        _steered(trials, directions, tuple(sorted(float(strength) for strength in strengths)), n_random)
        | trials.baseline()
    )
    settings = prepared.describe() | {
        "probe": probe,
        "strengths": sorted(float(strength) for strength in strengths),
        "n_random": n_random,
        "text": trials.text_name,
        "notes": trials.notes,
    }
    made = provenance(model=identity(model), task=prepared.data.describe(), seed=asked.seed, started=started)
    plots = tuple(steering_plots(trials, values, probe, n_random, TEXT_DRAWS))
    return SteeringResult(values=values, settings=settings, provenance=made, plots=plots)


def directions_of(prepared: Prepared, probe: str) -> Float[Tensor, "layer feature"]:
    """At each layer the direction, of length 1, in which the evidence for the second class grows."""
    x, labels = prepared.x[:, prepared.fitted], prepared.data.labels[prepared.fitted][None]
    problems = Problems(x, labels, torch.ones(labels.shape), 2)
    if probe == "mean_difference":
        weight = fit_mean_difference(problems).weight[:, 0]
    else:
        everything = torch.ones(x.shape[1], dtype=torch.bool)
        coordinates = decorrelate(x, everything)
        problems = Problems(coordinates.of(x), labels, problems.weights, 2)
        found = Family("logistic").fit(problems, torch.full((len(x), 1), L2), coordinates.variance)
        weight = coordinates.weights_in_activations(found.weight, found.bias)[0][:, 0]  # type: ignore[attr-defined]
    return torch.nn.functional.normalize(weight[:, 0], dim=-1)


def _steered(
    trials: Trials, directions: Float[Tensor, "layer feature"], strengths: tuple[float, ...], n_random: int
) -> dict[str, Values]:
    """Effects of every strength at every layer, along the direction and along random ones."""
    prepared = trials.prepared
    x, labels = prepared.x[:, prepared.fitted], prepared.data.labels[prepared.fitted]
    along = torch.einsum("lnd,ld->ln", x, directions)
    distance = along[:, labels == 1].mean(1) - along[:, labels == 0].mean(1)
    layers = range(len(prepared.layers))
    real, drawn = [], []
    with progress(len(layers) * len(strengths) * (1 + n_random), "steering") as bar:
        for layer in layers:
            random = [random_basis(x.shape[2], 1, 1 + draw + 1000 * layer)[:, 0] for draw in range(n_random)]
            for strength in strengths:
                length = strength * float(distance[layer])
                real.append(_tried(trials, layer, length * directions[layer]))
                bar.advance(1)
                drawn.append(_tried_at_random(trials, layer, [length * u for u in random]))
                bar.advance(n_random)
    shape = (len(layers), len(strengths))
    layer_axis = Axis("layer", prepared.layers)
    axes = (layer_axis, Axis("strength", tuple(f"{strength:g}" for strength in strengths)))
    values = _collected(trials, real, drawn, shape, axes)
    values["direction"] = Values(directions, (layer_axis, Axis("feature", tuple(range(x.shape[2])))))
    values["distance"] = Values(distance, (layer_axis,))
    values["share_of_norm"] = Values(distance / x.norm(dim=2).mean(1), (layer_axis,), "share")
    return values


def _tried(trials: Trials, layer: int, move: Float[Tensor, " feature"]) -> dict[str, Tensor]:
    """Every quantity of one move."""
    return trials.on_task(layer, _across(trials, move)) | trials.on_text(layer, _either_way(trials, move))


def _tried_at_random(trials: Trials, layer: int, moves: Sequence[Float[Tensor, " feature"]]) -> list[dict[str, Tensor]]:
    """Effects of random moves, and on text of a few of them."""
    return [
        {"effect": trials.effect(layer, _across(trials, move))}
        | (trials.on_text(layer, _either_way(trials, move)) if draw < TEXT_DRAWS else {})
        for draw, move in enumerate(moves)
    ]


def _across(trials: Trials, move: Float[Tensor, " feature"]) -> Edit:
    """Each example towards the class that it is not of."""
    return _moved(move, 1 - 2 * trials.labels.float())


def _either_way(trials: Trials, move: Float[Tensor, " feature"]) -> Edit:
    """Every other token of unrelated text towards each class."""
    return _moved(move, 1 - 2 * (torch.arange(len(trials.text.places)) % 2).float())


def _moved(move: Float[Tensor, " feature"], signs: Float[Tensor, " place"]) -> Edit:
    return lambda states, rows: states + signs[rows].to(states)[:, None] * move.to(states)


def _collected(
    trials: Trials,
    real: list[dict[str, Tensor]],
    drawn: list[list[dict[str, Tensor]]],
    shape: tuple[int, int],
    axes: tuple[Axis, ...],
) -> dict[str, Values]:
    values: dict[str, Values] = {}
    for name in real[0]:
        each = stacked(real, name).unflatten(0, shape)
        values |= trials.means("turned", 1 - each, axes) if name == "right" else trials.means(name, each, axes)
        if name == "effect":
            values |= trials.each_effect(each, axes)
    for name in ("effect", "text_kl", "text_loss"):
        means = [[float(one[name].mean()) for one in draws if name in one] for draws in drawn]
        values |= trials.drawn(name, torch.tensor(means).reshape(*shape, -1), axes)
    p = share_at_least(values["effect"].data, values["random_effect"].data)
    return values | {"p": Values(p, axes, "share")}
