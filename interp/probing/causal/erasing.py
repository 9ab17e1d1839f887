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
from interp.probing.causal.effects import with_intervals
from interp.probing.causal.nullspace_projection import CLOSE, fit_nullspaces
from interp.probing.causal.preparing import Prepared, Question, prepare
from interp.probing.causal.retraining import retrained
from interp.probing.labelled import LabelledTokens
from interp.probing.splitting import grouped_folds, numbered
from interp.results import Axis, Plot, Result, Values, interval_words
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
    feature] (rows of zeros beyond the rank) and mean [layer, feature]: the erasers themselves.
    """

    kind: ClassVar[str] = "erasure"

    def eraser(self, layer: int, method: str = "leace") -> Eraser:
        """The affine map of a layer, for activations [..., feature]."""
        if f"read {method}" not in self.values:
            raise unknown("method", method, [name[5:] for name in self.values if name.startswith("read ")])
        read, write = (self.values[f"{what} {method}"].sel(layer=layer).data for what in ("read", "write"))
        return Eraser(read.T, write, self.values["mean"].sel(layer=layer).data)

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
    asked = Question(**question)
    check_methods(methods)
    prepared = prepare(model, data, asked)
    values, settings = erased(prepared, methods, max_rank)[1:]
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


def erased(
    prepared: Prepared, methods: Sequence[str], max_rank: int
) -> tuple[dict[str, list[Eraser]], dict[str, Values], dict[str, Any]]:
    """Erasers by method, one a layer; what is left; and the settings."""
    width = prepared.x.shape[2]
    if not 1 <= max_rank <= width:
        raise InputError(
            f"max_rank={max_rank} does not fit: activations here have {width} dimensions; use 1 to {width}"
        )
    with progress(len(methods) + 2, "erasing") as bar:
        erasers = {}
        for method in methods:
            erasers[method] = fit_erasers(prepared, method, max_rank)
            bar.advance(1)
        values = _sizes(prepared, erasers) | _maps(prepared, erasers)
        for probe in PROBES:
            values |= _accuracies(prepared, erasers, probe)
            bar.advance(1)
    for end in ("", "_low", "_high"):
        parts = [values.pop(f"accuracy {name}{end}") for name in PROBES]
        axes = (parts[0].axes[0], Axis("probe", tuple(PROBES.values())), parts[0].axes[1])
        values[f"accuracy{end}"] = Values(torch.stack([part.data for part in parts], 1), axes, "share")
    held_out = prepared.data.labels[~prepared.fitted].bincount()
    values["majority_accuracy"] = Values(held_out.max() / held_out.sum(), (), "share")
    first = {"accuracy": values.pop("accuracy")}
    settings = {**prepared.describe(), "methods": list(methods), "max_rank": max_rank}
    return erasers, first | values, settings | {"notes": nothing_erased(values, methods)}


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


def fit_erasers(prepared: Prepared, method: str, max_rank: int) -> list[Eraser]:
    """One eraser a layer, learnt from the fitted examples."""
    x, labels = prepared.x[:, prepared.fitted], prepared.data.labels[prepared.fitted]
    if method == "leace":
        return [fit_leace(rows, labels, prepared.n_classes) for rows in x]
    groups = numbered(prepared.groups[prepared.fitted].tolist())
    watched = grouped_folds(labels, groups, 4, prepared.question.seed) == 0
    return fit_nullspaces(x, labels, ~watched, prepared.n_classes, max_rank)


def _sizes(prepared: Prepared, erasers: dict[str, list[Eraser]]) -> dict[str, Values]:
    axes = (Axis("method", tuple(erasers)), Axis("layer", prepared.layers))
    rank = torch.tensor([[one.rank for one in by_layer] for by_layer in erasers.values()])
    held_out = prepared.x[:, ~prepared.fitted]
    moved = [
        [one.taken(x).norm(dim=1).mean() / (x - one.mean).norm(dim=1).mean() for one, x in zip(by_layer, held_out)]
        for by_layer in erasers.values()
    ]
    return {"rank": Values(rank, axes, "directions"), "moved": Values(torch.tensor(moved), axes, "share")}


def _maps(prepared: Prepared, erasers: dict[str, list[Eraser]]) -> dict[str, Values]:
    layer = Axis("layer", prepared.layers)
    feature = Axis("feature", tuple(range(prepared.x.shape[2])))
    found = {}
    for method, by_layer in erasers.items():
        longest = max(1, *(one.rank for one in by_layer))
        axes = (layer, Axis("direction", tuple(range(longest))), feature)
        for what in ("read", "write"):
            rows = [one.read.T if what == "read" else one.write for one in by_layer]
            padded = [torch.cat([part, part.new_zeros(longest - len(part), part.shape[1])]) for part in rows]
            found[f"{what} {method}"] = Values(torch.stack(padded), axes)
        found["mean"] = Values(torch.stack([one.mean for one in by_layer]), (layer, feature))
    return found


def _accuracies(prepared: Prepared, erasers: dict[str, list[Eraser]], probe: str) -> dict[str, Values]:
    """Accuracy [erased, layer] of one kind of probe, learnt before and after each method."""
    found = [prepared.x]
    found += [torch.stack([one(x) for one, x in zip(by_layer, prepared.x)]) for by_layer in erasers.values()]
    right = retrained(
        torch.cat(found),
        prepared.data.labels,
        prepared.groups,
        prepared.fitted,
        prepared.n_classes,
        probe,
        prepared.question.seed,
    )
    groups = numbered(prepared.groups[~prepared.fitted].tolist())
    axes = (Axis("erased", (BEFORE, *erasers)), Axis("layer", prepared.layers))
    return with_intervals(f"accuracy {probe}", right.float().unflatten(0, (len(found), -1)), groups, axes, "share")


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
            f"{interval_words(n_groups, prepared.data.group_is + 's', 'bands: 95 % intervals')}."
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
