"""Kernels between tokens: linear, and the radial basis function whose width follows the median distance.

A kernel turns a representation X [n, d] into similarities K [n, n] of its tokens, block by block: nothing of size n ×
n is ever whole in memory. Kornblith et al. 2019, "Similarity of Neural Network Representations Revisited", section 3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import InputError, unknown

KernelName = Literal["linear", "rbf"]
MEDIAN_SAMPLE = 1000
"""Tokens from which the median distance is estimated."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """One representation, ready for its kernel.

    rows: [n, d] centred and scaled so that a token's mean squared length is 1, which no CKA depends on and which keeps
    float32 sums exact enough. squares: their squared lengths [n]. width: of the radial kernel, None for the linear one.
    shift: what is taken off every entry of the kernel (its mean, about), which no centred sum depends on either.
    spread: the representation's mean squared distance from its mean, in its own units.
    """

    rows: Float[Tensor, "n d"]
    squares: Float[Tensor, " n"]
    width: float | None
    shift: float
    mean: Float[Tensor, " d"]
    spread: float

    @property
    def diagonal(self) -> Float[Tensor, " n"]:
        """The kernel of every token with itself."""
        return self.squares if self.width is None else torch.full_like(self.squares, 1 - self.shift)

    def block(self, rows: slice, columns: slice, out: Float[Tensor, "rows columns"]) -> None:
        """Write the kernel between two ranges of tokens into `out`."""
        torch.mm(self.rows[rows], self.rows[columns].T, out=out)
        if self.width is not None:
            # |x - y|^2 = |x|^2 + |y|^2 - 2 x.y, in place
            out.mul_(-2).add_(self.squares[rows, None]).add_(self.squares[columns]).clamp_(min=0)
            out.mul_(-0.5 / self.width**2).exp_().sub_(self.shift)


def prepare_kernel(
    x: Float[Tensor, "n d"],
    kernel: str = "linear",
    bandwidth: float = 1.0,
    like: Prepared | None = None,
    seed: int = 0,
) -> Prepared:
    """Centre and scale a representation for a kernel; the input is left as it is.

    bandwidth: width of the radial kernel exp(-|x - y|² / 2 width²) in median distances between tokens (Kornblith et
    al. try 0.2 to 0.8); the median is that of a seeded sample of at most 1000 tokens. like: take mean, scale and width
    from other tokens of the same site, so that sums over both belong together. A representation that does not vary has
    spread 0 and stays zero.
    """
    check_kernel(kernel, bandwidth)
    rows = x.to(torch.float64 if x.dtype == torch.float64 else torch.float32)
    # No sum below needs the mean to be exact: centring only keeps float32 sums small.
    mean = rows.mean(0) if like is None else like.mean
    rows = rows - mean
    squares = torch.linalg.vector_norm(rows, dim=1).square_()
    spread = float(squares.double().mean()) if like is None else like.spread
    if spread > 0:
        rows /= spread**0.5
        squares /= spread
    if like is not None:
        return Prepared(rows, squares, like.width, like.shift, mean, spread)
    if kernel == "linear":
        return Prepared(rows, squares, None, 0.0, mean, spread)
    distances = _sampled_distances(rows, seed)
    # Not Tensor.median, which is the lower of the two middle ones where they are even in number.
    width = bandwidth * (float(distances.quantile(0.5)) or 1.0)
    shift = float(torch.exp(-distances.square() / (2 * width**2)).mean())
    return Prepared(rows, squares, width, shift, mean, spread)


def check_kernel(kernel: str, bandwidth: float) -> None:
    """Refuse a kernel that is not there, or one without a width."""
    if kernel not in get_args(KernelName):
        raise unknown("kernel", kernel, get_args(KernelName))
    if not 0 < bandwidth < math.inf:
        raise InputError(f"bandwidth={bandwidth:g} is no width of a kernel; give a number of median distances above 0")


def _sampled_distances(rows: Float[Tensor, "n d"], seed: int) -> Float[Tensor, " pairs"]:
    """Distances between the tokens of a sample; tokens with the same representation (repeats) are left out."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(rows), generator=generator)[:MEDIAN_SAMPLE]
    distances = torch.pdist(rows[chosen].cpu())
    different = distances[distances > 1e-4 * distances.max()]
    return different if len(different) else distances.new_ones(1)
