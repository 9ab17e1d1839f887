"""What CKA needs of kernels: a few sums over pairs of tokens, for all pairs of representations at once.

Two ways give the same sums of a linear kernel. "blocks" (any kernel) computes the kernels between two groups of
tokens for all S representations and multiplies these S rows with each other: about S n² (d + S) multiplications for
all S² pairs, half of it for symmetry. "features" multiplies d × d cross-products, S² n d² / 2 in all. With 31
representations of 576 dimensions blocks are cheaper below 17,000 tokens, so n > d alone does not decide.

Products are taken in float32 over blocks of a few hundred tokens and added in float64. Tokens come in groups
(documents), and the sums are kept by group: leaving a group out then costs nothing, which is what intervals need.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.runs import progress
from interp.similarity.kernels import Prepared

Way = Literal["blocks", "features"]
BLOCK = 512
"""Most tokens on one side of a block: larger ones make no product faster and need more memory."""


@dataclass(frozen=True, eq=False)
class KernelSums:
    """Sums of products of S kernels over pairs of n tokens in G groups.

    products [S, S]: over i, j of k_ij l_ij. by_group [G, S, S]: over i in the group and all j. within [G, S, S]: over i
    and j in the group. row_sums [S, n, G]: of k_ij over j in a group. diagonal [S, n]: k_ii. group [n]: of each token.
    """

    products: Float[Tensor, "s s"]
    by_group: Float[Tensor, "g s s"]
    within: Float[Tensor, "g s s"]
    row_sums: Float[Tensor, "s n g"]
    diagonal: Float[Tensor, "s n"]
    group: Int[Tensor, " n"]

    @property
    def n_groups(self) -> int:
        """How many groups the tokens came in."""
        return len(self.by_group)

    def without(self, group: int) -> tuple[Tensor, Tensor, Tensor]:
        """Products [S, S], row sums [S, m] and diagonals [S, m] of the tokens outside of a group."""
        kept = self.group != group
        products = self.products - 2 * self.by_group[group] + self.within[group]
        rows = self.rows[:, kept] - self.row_sums[:, kept, group]
        return products, rows, self.diagonal[:, kept].double()

    def all(self) -> tuple[Tensor, Tensor, Tensor]:
        """Products [S, S], row sums [S, n] and diagonals [S, n] of all tokens."""
        return self.products, self.rows, self.diagonal.double()

    @cached_property
    def rows(self) -> Float[Tensor, "s n"]:
        """Of every kernel and token, the sum of k_ij over all j, in float64."""
        return self.row_sums.sum(2, dtype=torch.float64)


def kernel_sums(kernels: Sequence[Prepared], group: Int[Tensor, " n"], way: Way | None = None) -> KernelSums:
    """The sums for all pairs of some kernels over the same tokens, by group.

    group: of each token, 0 to G-1, in order (the tokens of a group follow each other). way: which way to compute
    (default: the cheaper one; only "blocks" for kernels that are not linear).
    """
    way = way or cheaper_way(kernels)
    return _from_blocks(kernels, group) if way == "blocks" else _from_features(kernels, group)


def cheaper_way(kernels: Sequence[Prepared]) -> Way:
    """The way that takes fewer multiplications."""
    if any(kernel.width is not None for kernel in kernels):
        return "blocks"
    return min(("blocks", "features"), key=lambda way: multiplications(kernels, way))


def multiplications(kernels: Sequence[Prepared], way: Way) -> float:
    """How many multiplications the matrix products of a way take."""
    n, widths = len(kernels[0].rows), [kernel.rows.shape[1] for kernel in kernels]
    if way == "blocks":
        return n**2 / 2 * (sum(widths) + len(kernels) ** 2)
    return n / 2 * (sum(widths) ** 2 + sum(width**2 for width in widths))


def _from_blocks(kernels: Sequence[Prepared], group: Tensor) -> KernelSums:
    pieces = _pieces(group)
    n, s, g = len(group), len(kernels), int(group[-1]) + 1
    rows = kernels[0].rows
    size = max(piece.stop - piece.start for piece, _ in pieces)
    buffer = rows.new_empty(s, size * size)
    row_sums = rows.new_zeros(s, n, g)
    by_group, within = (torch.zeros(g, s, s, dtype=torch.float64, device=rows.device) for _ in range(2))
    linear = all(kernel.width is None for kernel in kernels)
    pairs = [(pieces[a], right) for a in range(len(pieces)) for right in pieces[a:]]
    with progress(len(pairs), "kernels between groups of tokens") as bar:
        for (left, here), (right, there) in pairs:
            height, width = left.stop - left.start, right.stop - right.start
            block = buffer[:, : height * width]
            for i, kernel in enumerate(kernels):
                kernel.block(left, right, block[i].view(height, width))
            products = (block @ block.T).double()
            if not linear:
                cells = block.view(s, height, width)
                row_sums[:, left, there] += cells.sum(2)
                if left != right:
                    row_sums[:, right, here] += cells.sum(1)
            by_group[here] += products
            if left != right:
                by_group[there] += products
            if here == there:
                within[here] += products if left == right else 2 * products
            bar.advance()
    if linear:
        _fill_row_sums(kernels, group, row_sums)
    diagonal = torch.stack([kernel.diagonal for kernel in kernels])
    return KernelSums(by_group.sum(0), by_group, within, row_sums, diagonal, group)


def _from_features(kernels: Sequence[Prepared], group: Tensor) -> KernelSums:
    """Cross-products group by group: Σ k_ij l_ij over two groups is the inner product of their cross-products."""
    s, g, n = len(kernels), int(group[-1]) + 1, len(group)
    pieces = _pieces(group, most=n)
    rows = kernels[0].rows
    by_group, within = (torch.zeros(g, s, s, dtype=torch.float64, device=rows.device) for _ in range(2))
    for i in range(s):
        for j in range(i, s):
            x, y = kernels[i].rows, kernels[j].rows
            crossed = torch.stack([x[piece].T @ y[piece] for piece, _ in pieces]).flatten(1)
            total = crossed.sum(0, dtype=torch.float64).to(crossed.dtype)
            by_group[:, i, j] = by_group[:, j, i] = (crossed @ total).double()
            within[:, i, j] = within[:, j, i] = crossed.square().sum(1, dtype=torch.float64)
    row_sums = rows.new_zeros(s, n, g)
    _fill_row_sums(kernels, group, row_sums)
    diagonal = torch.stack([kernel.diagonal for kernel in kernels])
    return KernelSums(by_group.sum(0), by_group, within, row_sums, diagonal, group)


def _fill_row_sums(kernels: Sequence[Prepared], group: Tensor, row_sums: Float[Tensor, "s n g"]) -> None:
    """Row sums of linear kernels, which are products with the sum of a group's tokens."""
    members = torch.nn.functional.one_hot(group, row_sums.shape[2]).to(row_sums)
    for i, kernel in enumerate(kernels):
        torch.mm(kernel.rows, kernel.rows.T @ members, out=row_sums[i])


def _pieces(group: Tensor, most: int = BLOCK) -> list[tuple[slice, int]]:
    """Ranges of at most `most` tokens, each inside one group, with that group."""
    edges = [0, *(torch.nonzero(group[1:] != group[:-1])[:, 0] + 1).tolist(), len(group)]
    pieces = []
    for start, stop in itertools.pairwise(edges):
        n_parts = -(-(stop - start) // most)
        cuts = [start + (stop - start) * part // n_parts for part in range(n_parts + 1)]
        pieces += [(slice(a, b), int(group[start])) for a, b in itertools.pairwise(cuts)]
    return pieces
