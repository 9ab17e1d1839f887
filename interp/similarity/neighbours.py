"""Mutual nearest neighbours: how many of a token's k nearest neighbours two representations share.

Huh et al. 2024, "The Platonic Representation Hypothesis", section 2 and appendix A: the mean share of common
neighbours, nearest by the inner product of features of length 1 (the cosine), which is the default here. Nearest by
Euclidean distance are others where tokens differ in length, and the values differ with them; the cosine depends on
where the origin is, the distance does not. Unlike CKA this sees only what is near, and no direction of large variance
can dominate it. Unrelated representations of n tokens share k / (n - 1).
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import InputError, unknown

Metric = Literal["cosine", "euclidean"]


def neighbour_matrix(x: Float[Tensor, "n d"], k: int = 10, metric: str = "cosine") -> Float[Tensor, "n n"]:
    """1 where the column's token is among the k nearest of the row's token (itself apart), 0 elsewhere.

    metric: nearest by the cosine, or by Euclidean distance. Raises InputError when there are not more than k other
    tokens.
    """
    if metric not in get_args(Metric):
        raise unknown("metric", metric, get_args(Metric))
    n = len(x)
    if not 1 <= k < n - 1:
        raise InputError(f"k={k} neighbours need k of at least 1 and more than {k + 1} tokens, not {n}")
    rows = x.double()
    if metric == "cosine":
        rows = torch.nn.functional.normalize(rows, dim=1, eps=1e-300)
        near = rows @ rows.T
    else:
        near = -torch.cdist(rows, rows)
    nearest = near.fill_diagonal_(-torch.inf).topk(k, dim=1).indices
    return torch.zeros(n, n, device=x.device).scatter_(1, nearest, 1.0)


def shared(first: Float[Tensor, "s n n"], second: Float[Tensor, "t n n"], k: int) -> Float[Tensor, "n s t"]:
    """For each token, the share of its neighbours that two representations have in common, for all pairs."""
    return torch.bmm(first.transpose(0, 1), second.permute(1, 2, 0)) / k
