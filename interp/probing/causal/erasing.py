"""`erase`: take a property out of activations, and see what probes learn anew from what is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, ClassVar

import torch
from torch import Tensor

from interp.errors import InputError, unknown
from interp.hooks.interventions import Intervention
from interp.hooks.references import Here
from interp.hooks.selecting import Positions
from interp.hooks.sites import Site
from interp.models import identity
from interp.probing.causal.affine import Eraser
from interp.probing.causal.closed_form_erasure import fit_leace
from interp.probing.causal.curves import interval_note
from interp.probing.causal.effects import with_intervals
from interp.probing.causal.nullspace_projection import CLOSE, fit_nullspaces
from interp.probing.causal.preparing import Prepared, Refusal, asked_question, check_fits, prepare
from interp.probing.causal.retraining import retrained
from interp.probing.labelled import LabelledTokens
from interp.probing.splitting import grouped_folds, numbered
from interp.results import Axis, Plot, Result, Values
from interp.runs import progress, provenance

METHODS = {"leace": "LEACE", "inlp": "INLP"}
PROBES = {"logistic": "linear", "mlp": "perceptron"}
BEFORE = "before"
MAX_RANK = 16
NOTHING = {
    "leace": "all classes have the same mean",
    "inlp": f"no linear probe beat the majority class by more than {CLOSE:.0%}",
}
"""Why a method takes nothing out."""


class ErasureResult(Result):
    """What is left after erasure, by method and layer, on held-out groups.

    accuracy [erased, probe, layer] with `_low`, `_high`: of probes learnt anew ("linear", "perceptron"), "before" and
    after each method; majority_accuracy; rank and moved [method, layer]: directions taken out, and the length of what
    is taken out as a share of the length of states about their mean; "read METHOD", "write METHOD" [layer, direction,
    feature] (rows of zeros beyond the rank) and "mean METHOD" [layer, feature]: the erasers themselves.
    """

    kind: ClassVar[str] = "erasure"

    def eraser(self, layer: int, method: str = "leace") -> Eraser:
        """The affine map of a layer, for activations [..., feature]."""
        if f"read {method}" not in self.values:
            raise unknown("method", method, [name[5:] for name in self.values if name.startswith("read ")])
        read, write = (self.values[f"{what} {method}"].sel(layer=layer).data for what in ("read", "write"))
        return Eraser(read.T, write, self.values[f"mean {method}"].sel(layer=layer).data)

    def intervention(self, layer: int, method: str = "leace", positions: Positions = None) -> Intervention:
        """The erasure as something for `interp.intervene`, at all tokens or some."""
        eraser, site = self.eraser(layer, method), Site(str(self.settings["site"]), layer)

        def edit(x: Tensor, here: Here) -> Tensor:
            return eraser(x.flatten(2)).view_as(x)

        return Intervention(site, edit, f"erase by {METHODS[method]} at {site}", positions=positions)


def erase(
    model: Any,
    data: LabelledTokens | str,
    *,
    methods: Sequence[str] = tuple(METHODS),
    max_rank: int = MAX_RANK,
    **question: Any,
) -> ErasureResult:
    """Fit erasers of a labelled property at some layers, and measure what probes can still learn.

    methods: "leace" (Belrose et al. 2023: closed form, moves activations least) and "inlp" (Ravfogel et al. 2020: the
    directions of one probe after another, at most `max_rank`). question: what `Question` describes: site, layers,
    position, n, seed, ... Erasers and probes learn from two thirds of the groups; accuracies are on the others.
    Raises InputError for what cannot be asked: one class, a rank beyond the width, layers that are not there.
    """
    started = datetime.now()
    asked = asked_question(question, "methods", "max_rank")
    check_methods(methods)
    prepared = prepare(model, data, asked, rank_fits(max_rank))
    cells = {}
    names = (BEFORE, *methods)
    with progress(len(names) * len(prepared.layers), "erasing (a method at a layer)") as bar:
        for name in names:
            for layer in range(len(prepared.layers)):
                cells[name, layer] = erased_at(prepared, name, layer, max_rank)
                bar.advance(1)
    values, settings = collected(prepared, methods, max_rank, cells)
    task = prepared.data.describe()
    plots = (accuracy_plot(values, settings, prepared),)
    made = provenance(model=identity(model), task=task, seed=asked.seed, started=started)
    return ErasureResult(values=values, settings=settings, provenance=made, plots=plots)


def check_methods(methods: Sequence[str]) -> None:
    """Refuse unknown methods, and none."""
    if isinstance(methods, str) or not methods:
        raise InputError(f"methods are a list of at least one of {', '.join(METHODS)}")
    for method in methods:
        if method not in METHODS:
            raise unknown("method", method, METHODS)


def rank_fits(max_rank: int) -> Refusal:
    """Refuses to take out more directions than there are, before states are read."""
    return lambda examples, answers, width: check_fits("max_rank", max_rank, width)


def erased_at(prepared: Prepared, name: str, layer: int, max_rank: int) -> dict[str, Tensor]:
    """One layer (its index) by one method, or "before": the eraser, and what probes learn anew; see `collected`.

    Layers and methods know nothing of each other, so that any of them may be computed again alone.
    """
    x = prepared.x[layer]
    found: dict[str, Tensor] = {}
    if name != BEFORE:
        eraser = fit_eraser(prepared, name, layer, max_rank)
        held_out = x[~prepared.fitted]
        moved = eraser.taken(held_out).norm(dim=1).mean() / (held_out - eraser.mean).norm(dim=1).mean()
        found = {"read": eraser.read, "write": eraser.write, "mean": eraser.mean, "moved": moved[None]}
        x = eraser(x)
    seed = prepared.question.seed
    for probe in PROBES:
        right = retrained(
            x[None], prepared.data.labels, prepared.groups, prepared.fitted, prepared.n_classes, probe, seed
        )
        found[f"right {probe}"] = right[0].to(torch.uint8)
    return found


def eraser_of(found: Mapping[str, Tensor]) -> Eraser:
    """The eraser out of what `erased_at` gave."""
    return Eraser(found["read"], found["write"], found["mean"])


def collected(
    prepared: Prepared, methods: Sequence[str], max_rank: int, cells: Mapping[tuple[str, int], Mapping[str, Tensor]]
) -> tuple[dict[str, Values], dict[str, Any]]:
    """What is left, and the settings, out of what `erased_at` gave for "before" and every method at every layer."""
    layers = range(len(prepared.layers))
    by_method = {method: [cells[method, layer] for layer in layers] for method in methods}
    values = _accuracies(prepared, [[cells[name, layer] for layer in layers] for name in (BEFORE, *methods)], methods)
    axes = (Axis("method", tuple(methods)), Axis("layer", prepared.layers))
    rank = torch.tensor([[one["read"].shape[1] for one in row] for row in by_method.values()])
    moved = torch.stack([torch.cat([one["moved"] for one in row]) for row in by_method.values()])
    values |= {"rank": Values(rank, axes, "directions"), "moved": Values(moved, axes, "share")}
    values |= _maps(prepared, by_method)
    held_out = prepared.data.labels[~prepared.fitted].bincount()
    values["majority_accuracy"] = Values(held_out.max() / held_out.sum(), (), "share")
    settings = {**prepared.describe(), "methods": list(methods), "max_rank": max_rank}
    return values, settings | {"notes": nothing_erased(values, methods)}


def nothing_erased(values: Mapping[str, Values], methods: Sequence[str]) -> list[str]:
    """Where these methods took out no direction, and why; nothing where each took out some."""
    found = []
    for method in methods:
        rank = values["rank"].sel(method=method)
        layers = [str(layer) for layer, n in zip(rank.axes[0].labels, rank.data.tolist()) if n == 0]
        if layers:
            where = f"layer{'s' * (len(layers) > 1)} {', '.join(layers)}"
            found.append(f"{METHODS[method]}, {where}: nothing to erase: {NOTHING[method]}")
    return found


def fit_eraser(prepared: Prepared, method: str, layer: int, max_rank: int) -> Eraser:
    """The eraser of a layer, learnt from the fitted examples."""
    x, labels = prepared.x[layer, prepared.fitted], prepared.data.labels[prepared.fitted]
    if method == "leace":
        return fit_leace(x, labels, prepared.n_classes)
    groups = numbered(prepared.groups[prepared.fitted].tolist())
    watched = grouped_folds(labels, groups, 4, prepared.question.seed) == 0
    return fit_nullspaces(x[None], labels, ~watched, prepared.n_classes, max_rank)[0]


def _maps(prepared: Prepared, by_method: Mapping[str, Sequence[Mapping[str, Tensor]]]) -> dict[str, Values]:
    layer = Axis("layer", prepared.layers)
    feature = Axis("feature", tuple(range(prepared.x.shape[2])))
    found = {}
    for method, by_layer in by_method.items():
        longest = max(1, *(one["read"].shape[1] for one in by_layer))
        axes = (layer, Axis("direction", tuple(range(longest))), feature)
        for what in ("read", "write"):
            rows = [one["read"].T if what == "read" else one["write"] for one in by_layer]
            padded = [torch.cat([part, part.new_zeros(longest - len(part), part.shape[1])]) for part in rows]
            found[f"{what} {method}"] = Values(torch.stack(padded), axes)
        found[f"mean {method}"] = Values(torch.stack([one["mean"] for one in by_layer]), (layer, feature))
    return found


def _accuracies(
    prepared: Prepared, rows: Sequence[Sequence[Mapping[str, Tensor]]], methods: Sequence[str]
) -> dict[str, Values]:
    """Accuracy [erased, probe, layer] of probes learnt before and after each method."""
    right = torch.stack(
        [torch.stack([torch.stack([one[f"right {probe}"] for one in row]) for probe in PROBES]) for row in rows]
    )
    groups = numbered(prepared.groups[~prepared.fitted].tolist())
    probes = Axis("probe", tuple(PROBES.values()))
    axes = (Axis("erased", (BEFORE, *methods)), probes, Axis("layer", prepared.layers))
    return with_intervals("accuracy", right.float(), groups, axes, "share")


def accuracy_plot(values: dict[str, Values], settings: dict[str, Any], prepared: Prepared) -> Plot:
    """Accuracy of retrained probes over layers, before and after; the curves are put into `values`."""
    for end in ("", "_low", "_high"):
        item = values[f"accuracy{end}"]
        labels = tuple(
            f"{probe}, {name if name == BEFORE else 'after ' + METHODS[str(name)]}"
            for name in item.axes[0].labels
            for probe in item.axes[1].labels
        )
        data = item.data.flatten(0, 1)
        values[f"curves: accuracy{end}"] = replace(item, data=data, axes=(Axis("curve", labels), item.axes[2]))
    n_groups = len(set(prepared.groups[~prepared.fitted].tolist()))
    return Plot(
        "lines",
        "curves: accuracy",
        x="layer",
        series="curve",
        low="curves: accuracy_low",
        high="curves: accuracy_high",
        title=f"{prepared.data.name.replace('_', ' ')}: what probes learn anew from erased states",
        caption=(
            f"Accuracy on {int((~prepared.fitted).sum())} examples of held-out {prepared.data.group_is}s, of linear "
            f"probes and of perceptrons with 32 units learnt before and after erasure; "
            f"{interval_note(len(prepared.layers), n_groups, prepared.data.group_is)}."
        ),
        caveat=(
            "Erasure takes out what linear probes read on the fitted examples. Where a perceptron still reads the "
            "class, the information is there in another form, and later layers may use that."
        ),
        options={
            "references": {"majority class": float(values["majority_accuracy"].data)},
            "y_label": "accuracy",
        },
    )
