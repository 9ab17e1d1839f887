"""How much two heads would compose if the stream between them were rotated at random: in closed form.

For the squared composition score s² = |A Q B|² of matrices of norm 1 and a uniformly random rotation Q of D dimensions,
with M = AᵀA, N = B Bᵀ,

    mean s² = 1 / D        var s² = 2 (tr M² - 1/D) (tr N² - 1/D) / ((D - 1) (D + 2))

(second moments of the Haar measure, e.g. Collins & Śniady 2006). Shapes and singular values of both heads are kept: a
head that writes along few directions has a wider spread, not a larger mean. Tails are those of the Beta distribution
with these two moments: exact for rank 1, else an approximation (too long for flat spectra, a little short for steep
ones), so very small probabilities are orders of magnitude, not numbers.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from scipy.special import betaincc  # type: ignore[import-untyped]
from torch import Tensor


def concentration(matrices: Float[Tensor, "head rows columns"], of_rows: bool = True) -> Float[Tensor, " head"]:
    """tr M² of matrices of norm 1: 1 / rank for equal singular values, 1 for a single one. of_rows: the short side."""
    gram = matrices @ matrices.mT if of_rows else matrices.mT @ matrices
    return gram.pow(2).sum((-2, -1)).double()


def moments(
    written: Float[Tensor, " source"], read: Float[Tensor, " destination"], n_dims: int
) -> tuple[float, Float[Tensor, "source destination"]]:
    """Mean and variance of the squared score, from the `concentration` of both sides."""
    spread = (written - 1 / n_dims)[:, None] * (read - 1 / n_dims)
    return 1 / n_dims, 2 * spread / ((n_dims - 1) * (n_dims + 2))


def upper_tail(
    squared: Float[Tensor, "source destination"], mean: float, variance: Float[Tensor, "source destination"]
) -> Float[Tensor, "source destination"]:
    """The probability that a random rotation gives at least this squared score; NaN stays NaN."""
    # Beta(a, b) with a / (a + b) = mean and variance mean (1 - mean) / (a + b + 1).
    total = mean * (1 - mean) / variance.clamp(min=1e-12 * mean**2) - 1
    chances = betaincc((mean * total).numpy(), ((1 - mean) * total).numpy(), squared.double().clamp(0, 1).numpy())
    found = torch.from_numpy(chances).view_as(squared)
    return torch.where(squared.isnan(), torch.nan, found)


def beyond_both(logs: Float[Tensor, "source destination"], n_rounds: int = 8) -> Float[Tensor, "source destination"]:
    """What is left of each entry once its row and its column are taken into account, in robust standard deviations.

    Rows and columns are medians of what the others leave over (Tukey 1977, median polish); the unit is 1.4826 times the
    median size of what is left. NaN entries have no say. All are NaN where rows and columns explain most entries
    exactly: without a spread there is nothing to hold an entry against. So they are with fewer than three rows or
    columns, of which no entry can stand out: medians of two are means, and leave the same in all.
    """
    there = ~logs.isnan()
    if min(int(there.any(dim).sum()) for dim in (0, 1)) < 3:
        return torch.full_like(logs, torch.nan)
    # numpy's, since Tensor.nanmedian is the lower of the two middle ones where they are even in number.
    left = np.ma.masked_invalid(logs.numpy())
    left = left - np.ma.median(left)
    for _ in range(n_rounds):
        for axis in (1, 0):
            left = left - np.ma.median(left, axis, keepdims=True)
    unit = 1.4826 * float(np.ma.filled(np.ma.median(abs(left)), np.nan))
    rest = torch.from_numpy(left.filled(np.nan))
    return rest / unit if unit > 1e-6 else torch.full_like(rest, torch.nan)  # less is rounding
