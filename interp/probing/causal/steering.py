"""`steer_along`: do answers turn when states are moved along a probe's direction, towards the other class?

Each state is moved by a multiple of the distance between the class means, measured along the direction: strength 1 puts
the mean of one class where that of the other was. Random directions, moved as far, stand beside it (counterfactual use
of probe directions: Giulianelli et al. 2018, "Under the Hood"; Marks & Tegmark 2023, "The Geometry of Truth", section
on interventions).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
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
from interp.probing.causal.answers import AnswerTokens
from interp.probing.causal.effects import RANDOM, TEXT_DRAWS, Trials, control_seed, share_at_least, stacked
from interp.probing.causal.preparing import Prepared, asked_question, prepare
from interp.probing.causal.stages import Edit
from interp.probing.causal.steering_plots import steering_plots
from interp.probing.labelled import LabelledTokens
from interp.probing.parts import Advance, Keeper
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
    keep: str | Path | None = None,
    **question: Any,
) -> SteeringResult:
    """Move the states of held-out examples along a probe's direction towards the other class; measure their answers.

    probe: "mean_difference" or "logistic", learnt from two thirds of the groups. strengths: in distances between the
    class means; negative ones move away from the other class. n_random: draws of random directions, each state moved as
    far. keep: a directory in which every finished layer is stored, and found again by the same question to the same
    model. question: what `Question` describes. On unrelated text every other token is moved towards each class. Raises
    InputError for more than two classes, no strengths, and what `prepare` refuses.
    """
    started = datetime.now()
    asked = asked_question(question, "probe", "strengths", "n_random", "keep")
    if probe not in PROBES:
        raise unknown("direction", probe, PROBES)
    if not strengths or len(set(strengths)) < len(strengths) or 0 in strengths or n_random < 0:
        raise InputError("strengths are different numbers other than 0, at least one; n_random is 0 or more")
    prepared = prepare(model, data, asked, _between_two)
    directions = directions_of(prepared, probe)
    trials = Trials(prepared)
    options = {"probe": probe, "strengths": sorted(float(strength) for strength in strengths), "n_random": n_random}
    values = _steered(trials, directions, options, keep) | trials.baseline()
    settings = prepared.describe() | options | trials.describe() | {"notes": trials.notes}
    made = provenance(model=identity(model), task=prepared.data.describe(), seed=asked.seed, started=started)
    plots = tuple(steering_plots(trials, values, probe, n_random, TEXT_DRAWS))
    return SteeringResult(values=values, settings=settings, provenance=made, plots=plots)


def _between_two(examples: LabelledTokens, answers: AnswerTokens | None, width: int) -> None:
    """Refuses more classes than a direction leads between."""
    if len(examples.classes) != 2:
        raise InputError(
            f"a direction leads from one class to another, and there are {len(examples.classes)}; choose two with "
            f"data.only([...]) or --classes"
        )


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
    trials: Trials, directions: Float[Tensor, "layer feature"], options: dict[str, Any], keep: str | Path | None
) -> dict[str, Values]:
    """Effects of every strength at every layer, along the direction and along random ones; each layer is a part."""
    prepared, strengths = trials.prepared, options["strengths"]
    x, labels = prepared.x[:, prepared.fitted], prepared.data.labels[prepared.fitted]
    along = torch.einsum("lnd,ld->ln", x, directions)
    distance = along[:, labels == 1].mean(1) - along[:, labels == 0].mean(1)
    steps = len(strengths) * (1 + options["n_random"])
    layers = []
    with progress(len(prepared.layers) * steps, "steering") as bar:
        keeper = Keeper(keep, trials.asked("steering", **options), bar)
        for layer, label in enumerate(prepared.layers):

            def compute(advance: Advance, layer: int = layer) -> dict[str, Tensor]:
                lengths = [strength * float(distance[layer]) for strength in strengths]
                return _tried(trials, layer, directions[layer], lengths, options["n_random"], advance)

            layers.append(keeper.numbers(f"layer-{label}", {"layer": label}, steps, compute))
    layer_axis = Axis("layer", prepared.layers)
    values = _collected(trials, layers, (layer_axis, Axis("strength", tuple(f"{one:g}" for one in strengths))))
    values["direction"] = Values(directions, (layer_axis, Axis("feature", tuple(range(x.shape[2])))))
    values["distance"] = Values(distance, (layer_axis,))
    values["share_of_norm"] = Values(distance / x.norm(dim=2).mean(1), (layer_axis,), "share")
    return values


def _tried(
    trials: Trials,
    layer: int,
    direction: Float[Tensor, " feature"],
    lengths: Sequence[float],
    n_random: int,
    advance: Advance,
) -> dict[str, Tensor]:
    """Effects [strength, place] of moves, and "random NAME" [strength, draw], means of moves as long at random."""
    width, seed = trials.prepared.x.shape[2], trials.prepared.question.seed
    random = [random_basis(width, 1, control_seed(layer, draw, seed))[:, 0] for draw in range(n_random)]
    real, drawn = [], []
    for length in lengths:
        move = length * direction
        real.append(trials.on_task(layer, _across(trials, move)) | trials.on_text(layer, _either_way(trials, move)))
        advance(1)
        drawn.append(_tried_at_random(trials, layer, [length * u for u in random]))
        advance(n_random)
    found = {name: stacked(real, name) for name in real[0]}
    for name in ("effect", "text_kl", "text_loss"):
        means = [[float(one[name].mean()) for one in draws if name in one] for draws in drawn]
        found[RANDOM + name] = torch.tensor(means).reshape(len(lengths), -1)
    return found


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


def _collected(trials: Trials, layers: Sequence[dict[str, Tensor]], axes: tuple[Axis, ...]) -> dict[str, Values]:
    values: dict[str, Values] = {}
    for name in [name for name in layers[0] if not name.startswith(RANDOM)]:
        each = stacked(layers, name)
        values |= trials.means("turned", 1 - each, axes) if name == "right" else trials.means(name, each, axes)
        if name == "effect":
            values |= trials.each_effect(each, axes)
    for name in ("effect", "text_kl", "text_loss"):
        values |= trials.drawn(name, stacked(layers, RANDOM + name), axes)
    p = share_at_least(values["effect"].data, values["random_effect"].data)
    return values | {"p": Values(p, axes, "share")}
