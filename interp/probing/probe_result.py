"""The answer of a probe: accuracy, log-loss and description length by layer, and always the controls beside them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import InputError
from interp.probing.labelled import LabelledTokens
from interp.probing.probe_plots import CURVES, curve_name, plots_of
from interp.probing.scoring import mean_and_interval, with_exact_ends
from interp.probing.telling import finding, layers_and_baselines
from interp.results import Axis, Provenance, Result, Values, range_of_draws

TASK, CONTROL, FIRST_SHUFFLE = 0, 1, 2
WORTH = 0.005
"""Nats by which the weakest penalty has to beat the next one for a still weaker one to be worth a try."""
OFTEN = 0.2
"""Share of the folds and sites in which it has to do so for a note."""


class ProbeResult(Result):
    """Means over held-out examples [site, position, layer], with cluster bootstrap intervals (`_low`, `_high`).

    Where every example is right or every one wrong the bootstrap cannot widen, and the exact bound over groups is used.

    accuracy, log_loss (nats); control_accuracy, selectivity (accuracy less that); shuffled_accuracy with the range of
    the shuffles; random_model_accuracy, random_model_log_loss; embedding_accuracy, embedding_log_loss [position];
    majority_accuracy, majority_log_loss; class_accuracy [..., class]; code_length, control_code_length (bits an
    example), compression; l2 [..., fold]; correct [..., example]; and for every kind of linear probes "weight KIND"
    [position, layer, class, feature] and "bias KIND", on the activations themselves, learnt from all examples.
    Where a control task has no meaning its numbers are NaN, and settings["control"] says why.
    """

    kind: ClassVar[str] = "probe"

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of the task, in the order of the labels."""
        return tuple(str(label) for label in self.values["class_accuracy"].axis("class").labels)

    def direction(
        self,
        layer: int,
        label: str | None = None,
        *,
        site: str | None = None,
        position: str | None = None,
        unit: bool = True,
    ) -> Float[Tensor, " feature"]:
        """The direction in which the evidence for a class grows, in activation space at a layer.

        label: of two classes the second by default; of more, one must be named, and its direction is its weights less
        the mean of all classes'. unit: of length 1; otherwise as long as the weights. site and position are needed
        where the result has several. Raises InputError for probes that have no direction (mlp).
        """
        weights = self.directions(layer, site=site, position=position)
        if label is None and len(self.classes) == 2:
            label = self.classes[1]
        if label not in self.classes:
            what = "name one" if label is None else f"{label!r} is none of them"
            raise InputError(f"the classes are {', '.join(self.classes)}; {what}")
        chosen = weights[self.classes.index(label)]
        return chosen / chosen.norm().clamp_min(1e-30) if unit else chosen

    def directions(
        self, layer: int, *, site: str | None = None, position: str | None = None
    ) -> Float[Tensor, "class feature"]:
        """Weights of every class less their mean: adding a multiple of a row raises that class against the others.

        Of two classes, half the probe's weights and their negative.
        """
        site = self._only("site", site)
        if f"weight {site}" not in self.values:
            probe = self.settings["probe"]
            raise InputError(f"a probe of kind {probe!r} has no directions; use 'logistic' or another linear one")
        weights = self.values[f"weight {site}"].sel(position=self._only("position", position), layer=layer).data
        if len(self.classes) == 2:
            return torch.cat([-weights, weights]) / 2
        return weights - weights.mean(0)

    def best_layer(self, *, site: str | None = None, position: str | None = None) -> int:
        """The layer with the least held-out log-loss."""
        losses = self.values["log_loss"].sel(site=self._only("site", site), position=self._only("position", position))
        return int(losses.axis("layer").labels[int(losses.data.argmin())])

    def table(self, *, site: str | None = None, position: str | None = None) -> pd.DataFrame:
        """One row a layer, then the embedding alone and the majority class: accuracy, controls, log-loss and bits."""
        return layers_and_baselines(self, self._only("site", site), self._only("position", position))

    def finding(self, *, site: str | None = None, position: str | None = None) -> str:
        """What was found, in two sentences: the best layer, its accuracy and selectivity, and what stands beside it."""
        return finding(self, self._only("site", site), self._only("position", position))

    def _only(self, axis: str, wanted: str | None) -> str:
        labels = self.values["accuracy"].axis(axis).labels if axis in self.values["accuracy"].dims else ()
        if wanted is not None or len(labels) == 1:
            return str(labels[0] if wanted is None else wanted)
        raise InputError(f"this result has several {axis}s; name one of {', '.join(map(str, labels))}")


@dataclass(frozen=True, eq=False)
class Parts:
    """What was measured: by kind of site the parts of the model and of its random twin, and the embedding's."""

    trained: Mapping[str, Sequence[Result]]
    random: Mapping[str, Sequence[Result]]
    embedding: Result

    def values(self, of: Mapping[str, Sequence[Result]], name: str) -> Tensor:
        """[site, position, layer, ...] out of parts of one kind each."""
        return torch.stack([torch.cat([part.values[name].data for part in lots], dim=1) for lots in of.values()])


def assembled(
    parts: Parts,
    data: LabelledTokens,
    groups: Int[Tensor, " example"],
    settings: dict[str, Any],
    provenance: Provenance,
    *,
    has_control: bool,
) -> ProbeResult:
    """The result out of its parts."""
    layers = tuple(settings["layers"])
    site = (Axis("site", tuple(parts.trained)), Axis("position", tuple(data.positions)), Axis("layer", layers))
    correct, loss = parts.values(parts.trained, "correct").float(), parts.values(parts.trained, "loss")
    numbers: dict[str, Tensor] = {}
    numbers |= _share_with_interval("accuracy", correct[..., TASK, :], groups)
    numbers |= _with_interval("log_loss", loss[..., TASK, :], groups)
    blank = 1.0 if has_control else math.nan
    numbers |= _share_with_interval("control_accuracy", correct[..., CONTROL, :] * blank, groups)
    numbers |= _with_interval("selectivity", (correct[..., TASK, :] - correct[..., CONTROL, :]) * blank, groups)
    numbers |= _shuffles(correct[..., FIRST_SHUFFLE:, :].mean(-1))
    twin_correct, twin_loss = (parts.values(parts.random, name)[..., 0, :].float() for name in ("correct", "loss"))
    numbers |= _share_with_interval("random_model_accuracy", twin_correct, groups)
    numbers |= _with_interval("random_model_log_loss", twin_loss, groups)
    code = parts.values(parts.trained, "code") / len(data)
    numbers["code_length"], numbers["control_code_length"] = code[..., TASK], code[..., CONTROL] * blank
    numbers["compression"] = math.log2(len(data.classes)) / code[..., TASK]
    numbers["random_model_code_length"] = parts.values(parts.random, "code")[..., 0] / len(data)
    values = {name: Values(tensor, site, _unit(name)) for name, tensor in numbers.items()}
    values |= _baselines(parts.embedding, data, groups, site[1], blank)
    members = torch.nn.functional.one_hot(data.labels, len(data.classes)).float()
    by_class = (correct[..., TASK, :] @ members) / members.sum(0).clamp_min(1)
    values["class_accuracy"] = Values(by_class, (*site, Axis("class", data.classes)), "share")
    l2 = parts.values(parts.trained, "l2")
    values["l2"] = Values(l2, (*site, Axis("fold", tuple(range(l2.shape[-1])))))
    examples = Axis("example", tuple(range(len(data))))
    values["correct"] = Values(correct[..., TASK, :].to(torch.uint8), (*site, examples))
    values |= _weights(parts, data, site[1:])
    values |= _curves(values, site, has_control)
    settings["unfinished_fits"] = 1 - float(parts.values(parts.trained, "converged").mean())
    settings["notes"] = [*data.notes, *_notes(l2, parts.values(parts.trained, "tried"), settings)]
    plots = plots_of(values, settings, data, int(groups.max()) + 1, has_control)
    return ProbeResult(values=values, settings=settings, provenance=provenance, plots=plots)


def _with_interval(name: str, each: Tensor, groups: Tensor) -> dict[str, Tensor]:
    mean, low, high = mean_and_interval(each, groups)
    return {name: mean, f"{name}_low": low, f"{name}_high": high}


def _share_with_interval(name: str, right: Tensor, groups: Tensor) -> dict[str, Tensor]:
    ends = with_exact_ends(*mean_and_interval(right, groups), int(groups.max()) + 1)
    return dict(zip((name, f"{name}_low", f"{name}_high"), ends))


def _shuffles(accuracy: Float[Tensor, "site position layer shuffle"]) -> dict[str, Tensor]:
    if not accuracy.shape[-1]:
        nan = torch.full(accuracy.shape[:-1], math.nan)
        return {name: nan.clone() for name in ("shuffled_accuracy", "shuffled_accuracy_low", "shuffled_accuracy_high")}
    low, high = range_of_draws(accuracy.movedim(-1, 0))
    return {"shuffled_accuracy": accuracy.mean(-1), "shuffled_accuracy_low": low, "shuffled_accuracy_high": high}


def _baselines(
    embedding: Result, data: LabelledTokens, groups: Tensor, position: Axis, blank: float
) -> dict[str, Values]:
    correct, loss = (embedding.values[name].data[:, 0].float() for name in ("correct", "loss"))
    found = _share_with_interval("embedding_accuracy", correct[:, TASK], groups)
    found |= _with_interval("embedding_log_loss", loss[:, TASK], groups)
    found["embedding_control_accuracy"] = correct[:, CONTROL].mean(-1) * blank
    found["embedding_code_length"] = embedding.values["code"].data[:, 0, TASK] / len(data)
    values = {name: Values(tensor, (position,), _unit(name)) for name, tensor in found.items()}
    share = data.labels.bincount(minlength=len(data.classes)).double() / len(data)
    values["majority_accuracy"] = Values(share.max().float(), (), "share")
    entropy = -(share * share.clamp_min(1e-12).log()).sum()
    values["majority_log_loss"] = Values(entropy.float(), (), "nats", "entropy of the classes")
    return values


def _weights(parts: Parts, data: LabelledTokens, site: tuple[Axis, ...]) -> dict[str, Values]:
    found = {}
    classes = Axis("class", data.classes[1:] if len(data.classes) == 2 else data.classes)
    for kind, lots in parts.trained.items():
        if "weight" in lots[0].values:
            weight, bias = (torch.cat([part.values[name].data for part in lots], dim=1) for name in ("weight", "bias"))
            features = Axis("feature", tuple(range(weight.shape[-1])))
            found[f"weight {kind}"] = Values(weight, (*site, classes, features), "", "of the probe on all examples")
            found[f"bias {kind}"] = Values(bias, (*site, classes))
    return found


def _curves(values: Mapping[str, Values], site: tuple[Axis, ...], has_control: bool) -> dict[str, Values]:
    """What the line plots draw: for every kind and position one line a curve, over layers."""
    found = {}
    for what, curves in CURVES.items():
        shown = {label: name for label, name in curves.items() if has_control or not name.startswith("control")}
        for kind in site[0].labels:
            for position in site[1].labels:
                for end in ("", "_low", "_high"):
                    if end and not all(f"{name}{end}" in values for name in shown.values()):
                        continue
                    rows = [values[f"{name}{end}"].sel(site=kind, position=position).data for name in shown.values()]
                    axes = (Axis("curve", tuple(shown)), site[2])
                    name = curve_name(what, kind, position) + end
                    found[name] = Values(torch.stack(rows), axes, _unit(next(iter(shown.values()))))
    return found


def _unit(name: str) -> str:
    if "loss" in name:
        return "nats"
    if "code_length" in name:
        return "bits an example"
    return "" if name == "compression" else "share"


def _notes(
    l2: Float[Tensor, "*site fold"], tried: Float[Tensor, "*site fold penalty"], settings: Mapping[str, Any]
) -> list[str]:
    """Whether weaker penalties would do better: the weakest was the best, and by more than nothing."""
    if settings["probe"] == "mean_difference" or len(settings["penalties"]) < 2:
        return []
    weakest = min(settings["penalties"])
    gain = tried[..., -2] - tried[..., -1]
    better = (l2 - weakest).abs().lt(1e-6 * weakest) & gain.gt(WORTH)
    share = float(better.float().mean())
    if share <= OFTEN:
        return []
    return [
        f"the weakest penalty, {weakest:g}, was the best in {share:.0%} of the folds and sites, by "
        f"{float(gain[better].mean()):.2g} nats on average: weaker ones may do better still (--penalties, in Python "
        "penalties=)"
    ]
