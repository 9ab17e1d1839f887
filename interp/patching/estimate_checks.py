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
STEPS = (1, 2, 5)


class EstimateCheck(Result):
    """Estimates of patching effects against the measured effects.

    values, by estimate ("k" is how many of the nodes with the largest measured effects one wants to find):
    "missed" [estimate, k]    share of those k nodes that are not among the first k of the estimate (false negatives)
    "chance" [k]              the same for a random ranking
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
) -> EstimateCheck:
    """Hold estimates (of `node_attribution`) against exact effects (of `sweep`, the same nodes, prompts and direction).

    estimates: one, or several by name ("plain", "with QK-fix", ...). The size of a node's effect is the mean over
    prompts of its absolute value, the contribution c(n) of Kramár et al. 2024, section 2. Nodes that an estimate cannot
    tell apart share the last of their ranks, so giving everything zero finds nothing. Nodes without any measured
    effect are never counted as missed. top: the values of k (default 1, 2, 5, 10, 20, ... ). Raises InputError when
    the nodes, the prompts or the directions differ, or when nothing has an effect.
    """
    started = datetime.now(UTC)
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
    ranks = {name: _ranks(_sizes(estimate)) for name, estimate in named.items()}
    found = torch.stack([torch.stack([(rank[wanted[:k]] > k).float().mean() for k in ks]) for rank in ranks.values()])
    verify = torch.stack([torch.stack([rank[wanted[:k]].max() for k in ks]) for rank in ranks.values()])
    axis, k_axis = Axis("estimate", tuple(named)), Axis("k", tuple(ks))
    chance = 1 - torch.tensor(ks) / len(measured)
    spearman = torch.tensor([_spearman(_sizes(estimate), measured) for estimate in named.values()])
    error = torch.tensor([_error(estimate, exact) for estimate in named.values()])
    values = {
        "missed": Values(found, (axis, k_axis), "share of nodes", "of the k nodes with the largest measured effects"),
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
    }
    source = provenance(
        model=exact.provenance.model, task=exact.provenance.task, seed=exact.provenance.seed, started=started
    )
    return EstimateCheck(values=values, settings=settings, provenance=source, plots=_plots(exact, len(measured)))


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


def _plots(exact: PatchingResult, n_nodes: int) -> tuple[Plot, ...]:
    options: dict[str, Any] = {"log_x": True}
    caption = (
        f"Share of the k nodes with the largest measured effects ({exact.settings['over']}, "
        f"{exact.settings['direction']}, {n_nodes} nodes) that an estimate does not rank among its own first k."
    )
    return (
        Plot(
            "lines", "missed", x="k", series="estimate", title="Nodes that are missed", caption=caption, options=options
        ),
        Plot("bars", "spearman", x="estimate", title="Rank correlation", caption="Estimated against measured sizes."),
    )
