"""Representational similarity analysis: do two representations find the same pairs of tokens far apart?

Kriegeskorte et al. 2008, "Representational similarity analysis": the distances between all pairs of tokens (1 less
their Pearson correlation over dimensions) in each representation, and the rank correlation of the two lists.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import unknown

Distance = Literal["correlation", "cosine", "euclidean"]


def distances_between(x: Float[Tensor, "n d"], distance: str = "correlation") -> Float[Tensor, "n n"]:
    """The dissimilarity of every pair of tokens, 0 on the diagonal."""
    if distance not in get_args(Distance):
        raise unknown("distance", distance, get_args(Distance))
    rows = x.double()
    if distance == "euclidean":
        return torch.cdist(rows, rows)
    if distance == "correlation":
        rows = rows - rows.mean(1, keepdim=True)
    rows = torch.nn.functional.normalize(rows, dim=1, eps=1e-300)
    return (1 - rows @ rows.T).fill_diagonal_(0)


def standard_ranks(distances: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """Ranks of the pairs' distances, centred and scaled so that products of two such matrices are Spearman's rho.

    Equal distances share their mean rank. Zeros on the diagonal, and everywhere when all distances are equal.
    """
    n = len(distances)
    above = torch.triu_indices(n, n, 1)
    ranks = mean_ranks(distances[above[0], above[1]])
    ranks = ranks - ranks.mean()
    size = torch.linalg.vector_norm(ranks)
    matrix = torch.zeros(n, n, dtype=torch.float32, device=distances.device)
    matrix[above[0], above[1]] = (ranks / size if size > 0 else ranks).float()
    return (matrix + matrix.T) / 2**0.5  # each pair is in it twice


def mean_ranks(numbers: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
    """Ranks from 1 on; equal numbers share the mean of theirs."""
    _, place, counts = numbers.unique(return_inverse=True, return_counts=True)
    return (counts.cumsum(0) - (counts - 1) / 2).double()[place]
