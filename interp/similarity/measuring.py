"""The measures on all pairs of some representations: their values, what each group of tokens contributes, and notes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.runs import progress
from interp.similarity import failure_modes as found
from interp.similarity.centred_kernels import (
    aligned,
    check_estimator,
    cka_without_groups,
    hsic,
)
from interp.similarity.dissimilarities import distances_between, standard_ranks
from interp.similarity.kernel_sums import kernel_sums
from interp.similarity.kernels import Prepared, prepare_kernel
from interp.similarity.neighbours import nearest, neighbour_matrix, shared, shares_without
from interp.similarity.permuting import centred_matrix, matrix_score
from interp.similarity.planning import UNITS
from interp.similarity.reading import Representations
from interp.similarity.rotations import rotated_overlap, unit_rows
from interp.similarity.subspaces import Basis, basis_of, mean_correlation, weighted_correlation
from interp.similarity.uncertainty import contributions

MeasureName = Literal["cka", "cca", "svcca", "pwcca", "procrustes", "rsa", "mutual_knn"]
MEASURES: tuple[str, ...] = get_args(MeasureName)
BY_MATRIX = ("cka", "rsa", "mutual_knn")
"""Measures that are inner products of matrices over tokens; the others need a decomposition for every pair."""
MOST_TOKENS = {"rsa": 512, "mutual_knn": 1024}
"""Tokens that a measure takes by default; the others take all."""
FEW_PAIRS = 12
"""Up to so many pairs of representations, a decomposition for each is repeated to give intervals and tests."""


@dataclass(frozen=True)
class Options:
    """Options of the measures."""

    kernel: str = "linear"
    """cka: linear or rbf."""
    bandwidth: float = 1.0
    """cka, rbf: width of the kernel in median distances."""
    estimator: str = "debiased"
    """cka: debiased (unbiased HSIC) or biased (the plain one of Kornblith et al.)."""
    variance: float = 0.99
    """svcca: share of the variance that is kept."""
    distance: str = "correlation"
    """rsa: correlation, cosine or euclidean."""
    k: int = 10
    """mutual_knn: neighbours."""
    metric: str = "cosine"
    """mutual_knn: nearest by cosine (as its authors have it) or by euclidean distance."""


USED_BY = {
    "cka": ("kernel", "bandwidth", "estimator"),
    "svcca": ("variance",),
    "rsa": ("distance",),
    "mutual_knn": ("k", "metric"),
}
"""Which options a measure has."""


@dataclass(frozen=True, eq=False)
class Measured:
    """One measure on all pairs: values [S, T]; contributed [G, S, T], by group of tokens on Fisher's scale, or None."""

    values: Float[Tensor, "s t"]
    contributed: Float[Tensor, "g s t"] | None = None
    effective: Float[Tensor, " _"] | None = None
    notes: list[str] = field(default_factory=list)


def measure_all(
    name: str, data: Representations, group: Int[Tensor, " n"], options: Options, intervals: bool
) -> Measured:
    """A measure on all pairs. group: of each token, in order; intervals: also what each group contributes."""
    if name == "cka":
        return _cka(data, group, options, intervals)
    if name == "mutual_knn":
        return _mutual_knn(data, group, options, intervals)
    values, notes = _values(name, data, options)
    if not intervals:
        return Measured(values, notes=notes)
    sizes = group.bincount()
    each = progress(range(len(sizes)), "intervals: leaving out documents in turn")
    without = torch.stack([_values(name, data.take(group != g), options)[0] for g in each])
    return Measured(values, contributions(values, without, sizes), notes=notes)


def scorer(name: str, data: Representations, options: Options) -> Callable[[Tensor | None], Float[Tensor, "s t"]]:
    """A function that measures all pairs with the tokens of the second side in a given order (None: as they are)."""
    firsts, seconds = data.first, data.second or data.first
    if name in BY_MATRIX:
        make = _matrix_of(name, options)
        a = torch.stack([make(x) for x in firsts])
        b = torch.stack([make(y) for y in seconds]) if data.second else a
        return matrix_score(a, b, 1 / (options.k * data.n) if name == "mutual_knn" else 1.0)
    prepare, pair = _pairwise(name, options)
    xs, ys = [prepare(x) for x in firsts], [prepare(y) for y in seconds]
    return lambda order: _scores(pair, xs, ys if order is None else [_reordered(y, order) for y in ys])


def _cka(data: Representations, group: Tensor, options: Options, intervals: bool) -> Measured:
    check_estimator(options.estimator, data.n)
    kernels = [prepare_kernel(x, options.kernel, options.bandwidth) for x in (*data.first, *data.second)]
    sums = kernel_sums(kernels, group)
    part = _corner(len(data.first), len(data.second))
    values = aligned(hsic(*sums.all(), options.estimator))
    contributed = None
    if intervals:
        without = cka_without_groups(sums, options.estimator)
        contributed = contributions(values[part], without[(slice(None), *part)], group.bincount())
    effective, notes = None, []
    if options.kernel == "rbf":
        notes += found.radial_notes(data.names, kernels)
    elif data.n >= 4:
        effective = found.effective_dimensions(kernels, hsic(*sums.all(), "debiased"))
    unit = UNITS.get(str(data.settings.get("align")), "tokens")
    notes += found.few_tokens_note(found.chance_of_biased(sums)[part], data.n, options.estimator, unit)
    return Measured(values[part], contributed, effective, notes)


def _corner(n_first: int, n_second: int) -> tuple[slice, slice]:
    """Where the pairs of interest stand among all pairs of first and second representations."""
    return slice(0, n_first), slice(n_first, n_first + n_second) if n_second else slice(0, n_first)


def _mutual_knn(data: Representations, group: Tensor, options: Options, intervals: bool) -> Measured:
    make = _matrix_of("mutual_knn", options)
    first = torch.stack([make(x) for x in data.first])
    second = torch.stack([make(y) for y in data.second]) if data.second else first
    each = shared(first, second, options.k).double()
    notes = [
        f"Unrelated representations of {data.n} tokens would share {options.k / (data.n - 1):.3f} of the neighbours."
    ]
    same = (data.documents[:, None] == data.documents).to(first)
    near = [float((every * same).sum() / every.sum()) for every in ([first, second] if data.second else [first])]
    if max(near) > 0.5:
        whose = " and ".join(filter(None, (data.names.owners[i] for i, share in enumerate(near) if share > 0.5)))
        notes.append(
            f"Over half of all neighbours{f' in {whose}' * bool(whose)} are from the same document, which any "
            "representation may see."
        )
    contributed = _knn_contributions(data, group, options) if intervals else None
    if intervals and contributed is None:
        notes.append(f"No intervals: without the longest document too few tokens are left for {options.k} neighbours.")
    return Measured(each.mean(0), contributed, notes=notes)


def _knn_contributions(data: Representations, group: Tensor, options: Options) -> Tensor | None:
    """Of every group of tokens; None where so few are left without one that there is nothing to choose from.

    A group is left out also as neighbours of others: without that, intervals would be little over half as wide.
    """
    sizes = group.bincount()
    depth = options.k + int(sizes.max())
    if depth >= data.n:
        return None
    first = [nearest(x, depth, options.metric) for x in data.first]
    second = [nearest(y, depth, options.metric) for y in data.second] or first
    left_out = progress(range(len(sizes)), "intervals: leaving out documents in turn")
    without = torch.stack([shares_without(first, second, options.k, group != g) for g in left_out])
    # From the same lists: which of several equally near tokens is taken may depend on their depth.
    whole = shares_without(first, second, options.k, torch.ones_like(group, dtype=torch.bool))
    return contributions(whole.double(), without.double(), sizes)


def _values(name: str, data: Representations, options: Options) -> tuple[Float[Tensor, "s t"], list[str]]:
    """All pairs of a measure that has no sums to share, and what is to be said of it."""
    if name == "rsa":
        return scorer(name, data, options)(None), []
    prepare, pair = _pairwise(name, options)
    xs = [prepare(x) for x in data.first]
    ys = [prepare(y) for y in data.second]
    notes: list[str] = []
    if name != "procrustes":
        sizes = [basis.size for basis in (*xs, *ys)]
        notes = found.canonical_notes(data.n, sizes, data.names, name == "svcca")
    return _scores(pair, xs, ys, symmetric=name != "pwcca", shown=len(xs) * len(ys or xs) > FEW_PAIRS), notes


def _scores(
    pair: Callable[[Any, Any], float],
    xs: Sequence[Any],
    ys: Sequence[Any],
    symmetric: bool = False,
    shown: bool = False,
) -> Float[Tensor, "s t"]:
    """A measure on every pair; without ys among the xs, where a symmetric one is computed once a pair.

    shown: whether its progress is shown (not that of every draw of a permutation test).
    """
    others = ys or xs
    out = torch.empty(len(xs), len(others), dtype=torch.float64)
    for i, x in enumerate(progress(xs, "decompositions, site by site") if shown else xs):
        for j, y in enumerate(others):
            out[i, j] = out[j, i] if not ys and symmetric and j < i else pair(x, y)
    return out


def _pairwise(name: str, options: Options) -> tuple[Callable[[Tensor], Any], Callable[[Any, Any], float]]:
    if name == "procrustes":
        return unit_rows, rotated_overlap
    kept = options.variance if name == "svcca" else 1.0
    return lambda x: basis_of(x, kept), weighted_correlation if name == "pwcca" else mean_correlation


def _matrix_of(name: str, options: Options) -> Callable[[Tensor], Float[Tensor, "n n"]]:
    if name == "rsa":
        return lambda x: standard_ranks(distances_between(x, options.distance))
    if name == "mutual_knn":
        return lambda x: neighbour_matrix(x, options.k, options.metric)
    return lambda x: centred_matrix(_whole_kernel(prepare_kernel(x, options.kernel, options.bandwidth)))


def _whole_kernel(kernel: Prepared) -> Float[Tensor, "n n"]:
    n = len(kernel.rows)
    out = kernel.rows.new_empty(n, n)
    kernel.block(slice(0, n), slice(0, n), out)
    return out


def _reordered(state: Any, order: Tensor) -> Any:
    """What was prepared of a representation, with its tokens in another order."""
    return Basis(state.vectors[order], state.weights) if isinstance(state, Basis) else state[order]
