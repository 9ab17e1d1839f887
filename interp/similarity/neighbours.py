"""Mutual nearest neighbours: how many of a token's k nearest neighbours two representations share.

Huh et al. 2024, "The Platonic Representation Hypothesis", section 2 and appendix A: the mean share of common
neighbours, nearest by the inner product of features of length 1 (the cosine), which is the default here. Nearest by
Euclidean distance are others where tokens differ in length, and the values differ with them; the cosine depends on
where the origin is, the distance does not. Unlike CKA this sees only what is near, and no direction of large variance
can dominate it. Unrelated representations of n tokens share k / (n - 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.errors import InputError, unknown

Metric = Literal["cosine", "euclidean"]


def neighbour_matrix(x: Float[Tensor, "n d"], k: int = 10, metric: str = "cosine") -> Float[Tensor, "n n"]:
    """1 where the column's token is among the k nearest of the row's token (itself apart), 0 elsewhere.

    metric: nearest by the cosine, or by Euclidean distance. Raises InputError when there are not more than k other
    tokens.
    """
    n = len(x)
    check_k(k, n)
    return torch.zeros(n, n, device=x.device).scatter_(1, nearest(x, k, metric), 1.0)


def nearest(x: Float[Tensor, "n d"], depth: int, metric: str = "cosine") -> Int[Tensor, "n depth"]:
    """The `depth` nearest other tokens of every token, nearest first."""
    if metric not in get_args(Metric):
        raise unknown("metric", metric, get_args(Metric))
    rows = x.double()
    if metric == "cosine":
        rows = torch.nn.functional.normalize(rows, dim=1, eps=1e-300)
        near = rows @ rows.T
    else:
        near = -torch.cdist(rows, rows)
    return near.fill_diagonal_(-torch.inf).topk(depth, dim=1).indices


def shares_without(
    first: Sequence[Int[Tensor, "n depth"]], second: Sequence[Int[Tensor, "n depth"]], k: int, kept: Bool[Tensor, " n"]
) -> Float[Tensor, "s t"]:
    """The mean share of neighbours in common among the kept tokens alone, from lists of nearest tokens.

    Tokens that are left out are neighbours of nobody, and the next nearest take their place: the lists must be deep
    enough, k and as many as are left out.
    """
    a, b = (torch.stack([_marked(each[kept], kept, k) for each in side]) for side in (first, second))
    return shared(a, b, k).mean(0)


def _marked(near: Int[Tensor, "m depth"], kept: Bool[Tensor, " n"], k: int) -> Float[Tensor, "m n"]:
    usable = kept[near]
    chosen = usable & (usable.cumsum(1) <= k)
    return torch.zeros(len(near), len(kept), device=near.device).scatter_(1, near, chosen.float())


def check_k(k: int, n: int | None = None) -> None:
    """Refuse a number of neighbours that is none, or that n tokens do not have to choose from (None: not known)."""
    if k < 1:
        raise InputError(f"k={k} is no number of neighbours; give 1 or more")
    if n is not None and k >= n - 1:
        raise InputError(f"k={k} neighbours need more than {k + 1} tokens, not {n}; give a smaller k, or more texts")


def shared(first: Float[Tensor, "s n m"], second: Float[Tensor, "t n m"], k: int) -> Float[Tensor, "n s t"]:
    """For each token, the share of its neighbours that two representations have in common, for all pairs."""
    return torch.bmm(first.transpose(0, 1), second.permute(1, 2, 0)) / k
