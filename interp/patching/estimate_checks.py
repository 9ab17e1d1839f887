"""`compare_with_exact`: how far estimated effects of patching are from measured ones, and which nodes they miss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import InputError
from interp.patching.outcome import PatchingResult
from interp.results import Axis, Plot, Result, Values
from interp.runs import provenance

# A node counts as having an effect from this share of the largest one on: below, measured effects are rounding.
REAL_SHARE = 1e-4
FRACTION = 0.1
"""An estimate below this share of the measured effect does not show it, whatever its rank."""
STEPS = (1, 2, 5)


class EstimateCheck(Result):
    """Estimates of patching effects against the measured effects.

    values, by estimate ("k" is how many of the nodes with the largest measured effects one wants to find):
    "missed" [estimate, k]    share of those k nodes that the estimate misses (false negatives): it does not have them
                              among its own first k, or gives them less than a fraction of their measured size
    "by_rank", "by_size" [estimate, k]  share that is missed for the one reason, and for the other
    "chance" [k]              share that a random ranking does not have among its first k
    "to_verify" [estimate, k] how many nodes, in the estimate's order, must be patched to find all k
    "spearman" [estimate]     rank correlation of the sizes, over all nodes
    "error" [estimate]        sum |estimated - measured| / sum |measured| of mean effects; NaN where without sign
    """

    kind: ClassVar[str] = "estimate_check"


def compare_with_exact(
    estimates: Mapping[str, PatchingResult] | PatchingResult,
    exact: PatchingResult,
    *,
    top: Sequence[int] | None = None,
    fraction: float | int = FRACTION,
) -> EstimateCheck:
    """Hold estimates (of `node_attribution`) against exact effects (of `sweep`, the same nodes, prompts and direction).

    estimates: one, or several by name ("plain", "with QK-fix", ...). The size of a node's effect is the mean over
    prompts of its absolute value, the contribution c(n) of Kramár et al. 2024, section 2. Nodes that an estimate cannot
    tell apart share the last of their ranks, so giving everything zero finds nothing. A rank alone is not enough: where
    everything is estimated as next to nothing, rounding errors are ranked too, so a node whose estimate is below
    `fraction` of its measured size is missed as well. Nodes without any measured effect are never counted as missed.
    top: the values of k (default 1, 2, 5, 10, 20, ... ). Raises InputError when the nodes, the prompts or the
    directions differ, when nothing has an effect, or for a fraction outside 0 ... 1.
    """
    started = datetime.now(UTC)
    if not 0 <= fraction <= 1:
        raise InputError(f"fraction is the share of an effect that an estimate must show, 0 to 1, not {fraction}")
    named = dict(estimates) if isinstance(estimates, Mapping) else {"estimate": estimates}
    if not named:
        raise InputError("no estimates were given; name at least one, of interp.patching.node_attribution")
    for name, estimate in named.items():
        _check(name, estimate, exact)
    measured = _sizes(exact)
    real = int((measured > REAL_SHARE * measured.max()).sum()) if measured.max() > 0 else 0
    if real == 0:
        raise InputError("no node has a measured effect, so there is nothing to find; check the task and the direction")
    ks = _ks(top, real)
    wanted = measured.argsort(descending=True, stable=True)
    sizes = {name: _sizes(estimate) for name, estimate in named.items()}
    ranks = torch.stack([_ranks(size)[wanted] for size in sizes.values()])  # [estimate, node], the wanted ones first
    faint = torch.stack([size[wanted] < fraction * measured[wanted] for size in sizes.values()])
    verify = torch.stack([ranks[:, :k].amax(1) for k in ks], dim=1)
    by_rank, by_size, either = (
        torch.stack([(low & (ranks[:, :k] > k) | small & faint[:, :k]).float().mean(1) for k in ks], dim=1)
        for low, small in ((True, False), (False, True), (True, True))
    )
    axis, k_axis = Axis("estimate", tuple(named)), Axis("k", tuple(ks))
    chance = 1 - torch.tensor(ks) / len(measured)
    spearman = torch.tensor([_spearman(size, measured) for size in sizes.values()])
    error = torch.tensor([_error(estimate, exact) for estimate in named.values()])
    values = {
        "missed": Values(either, (axis, k_axis), "share of nodes", "of the k nodes with the largest measured effects"),
        "by_rank": Values(by_rank, (axis, k_axis), "share of nodes", "not among the first k of the estimate"),
        "by_size": Values(by_size, (axis, k_axis), "share of nodes", f"estimated below {fraction:g} of the measured"),
        "chance": Values(chance, (k_axis,), "share of nodes", "missed by a random ranking"),
        "to_verify": Values(verify, (axis, k_axis), "nodes", "to patch, in the estimate's order, to find all k"),
        "spearman": Values(spearman, (axis,), "rank correlation", "of the sizes of effects"),
        "error": Values(error, (axis,), "share of the measured effects", "sum of absolute errors"),
    }
    settings = {
        "estimates": {name: dict(estimate.settings) for name, estimate in named.items()},
        "exact": dict(exact.settings),
        "n_nodes": len(measured),
        "n_with_effect": real,
        "fraction": fraction,
    }
    source = provenance(
        model=exact.provenance.model, task=exact.provenance.task, seed=exact.provenance.seed, started=started
    )
    return EstimateCheck(
        values=values, settings=settings, provenance=source, plots=_plots(exact, len(measured), ks, fraction)
    )


def _check(name: str, estimate: PatchingResult, exact: PatchingResult) -> None:
    theirs, ours = (result.values["effect_per_example"].axes for result in (estimate, exact))
    if [(axis.name, axis.labels) for axis in theirs] != [(axis.name, axis.labels) for axis in ours]:
        shapes = [", ".join(f"{axis.name} ({len(axis)})" for axis in axes) for axes in (theirs, ours)]
        raise InputError(f"{name!r} is by {shapes[0]} and the exact effects by {shapes[1]}; compute both for the same")
    if estimate.settings["direction"] != exact.settings["direction"]:
        raise InputError(
            f"{name!r} estimates {estimate.settings['direction']!r} and the exact effects are of "
            f"{exact.settings['direction']!r}; give both the same direction"
        )
    for what in ("model", "task"):
        if getattr(estimate.provenance, what) != getattr(exact.provenance, what):
            raise InputError(f"{name!r} and the exact effects are of a different {what}; compute both for the same one")


def _sizes(result: PatchingResult) -> Float[Tensor, " node"]:
    return result.values["effect_per_example"].data.abs().double().mean(-1).flatten()


def _ranks(sizes: Float[Tensor, " node"]) -> Int[Tensor, " node"]:
    """The rank of each node, 1 for the largest; those of equal size share the last of theirs."""
    ordered = sizes.sort().values
    return len(sizes) - torch.searchsorted(ordered, sizes)


def _spearman(estimated: Float[Tensor, " node"], measured: Float[Tensor, " node"]) -> float:
    """NaN when one of them does not vary."""
    ranks = [pd.Series(values.numpy()).rank() for values in (estimated, measured)]
    if min(rank.std() for rank in ranks) == 0 or len(measured) < 2:
        return float("nan")
    return float(ranks[0].corr(ranks[1]))


def _error(estimate: PatchingResult, exact: PatchingResult) -> float:
    if not estimate.settings.get("signed", True):
        return float("nan")
    means = [result.values["effect_per_example"].data.double().mean(-1) for result in (estimate, exact)]
    return float((means[0] - means[1]).abs().sum() / means[1].abs().sum())


def _ks(top: Sequence[int] | None, real: int) -> list[int]:
    if top is None:
        grid = [step * 10**power for power in range(6) for step in STEPS]
        return [k for k in grid if k <= real]
    wrong = [k for k in top if not 1 <= k <= real]
    if wrong or not list(top):
        raise InputError(f"top lists how many nodes to look for, from 1 to the {real} that have an effect, not {wrong}")
    return sorted(set(top))


def _plots(exact: PatchingResult, n_nodes: int, ks: Sequence[int], fraction: float | int) -> tuple[Plot, ...]:
    caption = (
        f"Share of the k nodes with the largest measured effects ({exact.settings['over']}, "
        f"{exact.settings['direction']}, {n_nodes} nodes) that an estimate misses: it does not rank them among its own "
        f"first k, or gives them less than {fraction:.0%} of their measured size."
    )
    missed: dict[str, Any] = {"title": "Nodes that are missed", "caption": caption}
    return (
        Plot("lines", "missed", x="k", series="estimate", **missed, options={"log_x": True})
        if len(ks) > 1
        else Plot("bars", "missed", x="estimate", series="k", **missed, options={"y_label": f"missed of {ks[0]}"}),
        Plot("bars", "spearman", x="estimate", title="Rank correlation", caption="Estimated against measured sizes."),
    )
