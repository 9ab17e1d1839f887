"""Which latents are active: the k largest of every token, or the k largest per token on average over the batch."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saes.kernels.support import SparseSupport, from_columns, from_entries

GROUPS = 8
"""Latents that share a maximum in `top_k`; measured on a processor, of little weight."""
SLACK = 0.9
"""Share of the expected threshold from which an entry is a candidate in `batch_top_k`."""


def top_k(scores: Float[Tensor, "rows d_sae"], k: int) -> Int[Tensor, "rows k"]:
    """The columns of each row's k largest entries, in no order.

    Where it pays, through maxima of groups: the k largest lie in the k groups with the largest maxima (a group without
    one of the k largest has a smaller maximum than each of the k that have one), so only those are searched.
    """
    rows, d_sae = scores.shape
    if scores.is_cuda or d_sae % GROUPS or k * GROUPS * 4 > d_sae:
        return scores.topk(k, dim=1, sorted=False).indices
    stride = d_sae // GROUPS
    groups = scores.view(rows, GROUPS, stride).amax(1).topk(k, dim=1, sorted=False).indices
    members = (groups[:, None, :] + torch.arange(0, d_sae, stride, device=scores.device)[:, None]).view(rows, -1)
    best = scores.gather(1, members).topk(k, dim=1, sorted=False).indices
    return members.gather(1, best)


def top_k_support(scores: Float[Tensor, "rows d_sae"], k: int) -> SparseSupport:
    """The k largest entries of every row, as a support."""
    return from_columns(top_k(scores, k), scores.shape[1])


def batch_top_k(scores: Float[Tensor, "rows d_sae"], k: int, expected: Tensor | float) -> SparseSupport:
    """The rows · k largest entries of a batch (Bussmann et al. 2024); fewer where fewer are positive.

    expected: about where the smallest of them lay lately, such as the running threshold. Only entries above a share of
    it are looked at, and all of them when those turn out to be too few: the answer does not depend on it.
    """
    wanted = min(scores.numel(), scores.shape[0] * k)
    for floor in (SLACK * expected, 0.0):
        rows, columns = (scores > floor).nonzero(as_tuple=True)
        if len(rows) >= wanted:
            break
    else:
        return from_entries(rows, columns, *scores.shape)
    candidates = scores[rows, columns]
    smallest = candidates.float().kthvalue(len(candidates) - wanted + 1).values
    above = candidates > smallest
    # Of several entries equal to the smallest, the first ones fill the places that are left.
    equal = candidates == smallest
    kept = above | (equal & (equal.cumsum(0) <= wanted - above.sum()))
    return from_entries(rows[kept], columns[kept], *scores.shape)
