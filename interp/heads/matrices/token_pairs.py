"""A matrix between directions as one between tokens: its largest entries, without ever holding it.

For a vocabulary of 50,000 that is 2.5 billion entries, made from thin factors some rows at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.heads.matrices.factored import Factored

CHUNK_BYTES = 2**26
"""Entries that exist at a time."""
SAMPLED = 2000
"""Tokens for which `like_with_like` looks at a whole row."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """index [pair, 2]: row and column; size [pair]: the entry over the standard deviation of all entries."""

    index: Int[Tensor, "pair 2"]
    size: Float[Tensor, " pair"]


def largest_pairs(
    matrix: Factored, rows: Float[Tensor, "row d_in"], columns: Float[Tensor, "column d_out"], n: int
) -> Pairs:
    """The n largest entries of rows @ matrix @ columnsᵀ, largest first.

    An entry is at most the product of the lengths of its row and its column, both in the inner dimensions. Longest
    first, most pairs need not be looked at once n large entries are known.
    """
    left, right = _thin(matrix, rows, columns)
    row_order, column_order = (side.norm(dim=1).argsort(descending=True) for side in (left, right))
    left, right = left[row_order], right[column_order]
    row_lengths, column_lengths = left.norm(dim=1), right.norm(dim=1)
    step = max(1, CHUNK_BYTES // (4 * len(right)))
    best, where = left.new_zeros(0), torch.zeros((0, 2), dtype=torch.long, device=left.device)
    for start in range(0, len(left), step):
        least = float(best[-1]) if len(best) == n else -torch.inf
        width = int((column_lengths * row_lengths[start] >= least).sum())
        if width == 0:
            break
        entries = left[start : start + step] @ right[:width].mT
        found = _largest(entries, n, least)
        best = torch.cat([best, entries[found[:, 0], found[:, 1]]])
        where = torch.cat([where, torch.stack([row_order[start + found[:, 0]], column_order[found[:, 1]]], dim=1)])
        order = best.argsort(descending=True, stable=True)[:n]
        best, where = best[order], where[order]
    sd = (Factored(left, right.mT).squared_norm() / (len(left) * len(right))) ** 0.5
    return Pairs(where.cpu(), (best / max(sd, 1e-30)).cpu())


def _largest(entries: Float[Tensor, "row column"], n: int, least: float) -> Int[Tensor, "pair 2"]:
    """Places of up to n entries that are at least `least`: first the rows that can hold one, then their entries."""
    tops = entries.amax(1)
    rows = (tops >= least).nonzero()[:, 0]
    rows = rows[tops[rows].argsort(descending=True)[:n]]
    inside = entries[rows].flatten()
    found = inside.topk(min(n, len(inside))).indices
    return torch.stack([rows[found // entries.shape[1]], found % entries.shape[1]], dim=1)


def like_with_like(
    matrix: Factored, rows: Float[Tensor, "token d_in"], columns: Float[Tensor, "token d_out"]
) -> Float[Tensor, ""]:
    """Share of tokens whose own column is the largest of their row; of evenly spaced ones where there are many."""
    chosen = torch.arange(0, len(rows), _step(len(rows)), device=rows.device)
    left, right = _thin(matrix, rows[chosen], columns)
    size = max(1, CHUNK_BYTES // (4 * len(right)))
    hits = [(some @ right.mT).argmax(1) == own for some, own in zip(left.split(size), chosen.split(size))]
    return torch.cat(hits).float().mean().cpu()


def n_sampled(n_tokens: int) -> int:
    """How many of so many tokens `like_with_like` looks at."""
    return len(range(0, n_tokens, _step(n_tokens)))


def _step(n_tokens: int) -> int:
    return max(1, n_tokens // SAMPLED)


def _thin(matrix: Factored, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Both sides in the matrix's inner dimensions."""
    assert matrix.right is not None
    return rows @ matrix.left.to(rows), columns @ matrix.right.mT.to(columns)
