"""Canonical correlations: how well directions of one representation predict directions of another.

CCA in the mean (Raghu et al. 2017, "SVCCA", section 2), after keeping the principal components that hold 99 % of the
variance (SVCCA), or weighted by how much of the first representation each direction accounts for (PWCCA: Morcos et
al. 2018, "Insights on representational similarity in neural networks with canonical correlation", section 3). None
changes under an invertible linear map of either side, SVCCA's truncation apart; with few tokens for the dimensions
all are high for unrelated data, and from n <= d1 + d2 on some correlations are 1 whatever the data.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import InputError

RANK = 1e-11
"""Principal components with less than this part of the largest one's variance are rounding, not data."""


@dataclass(frozen=True, eq=False)
class Basis:
    """An orthonormal basis [n, k] of what a centred representation spans over its tokens, and how the representation
    is made of it: weights [k, d], so that basis @ weights is the representation (as far as it was kept)."""

    vectors: Float[Tensor, "n k"]
    weights: Float[Tensor, "k d"]

    @property
    def size(self) -> int:
        """How many directions were kept."""
        return self.vectors.shape[1]


def basis_of(x: Float[Tensor, "n d"], variance: float = 1.0) -> Basis:
    """The principal components of a representation that hold `variance` of its variance, each scaled to length 1.

    variance: 1 keeps all that vary (CCA, PWCCA), 0.99 is SVCCA's. In float64, from the covariance.
    """
    check_variance(variance)
    rows = x.double()
    rows = rows - rows.mean(0)
    values, directions = torch.linalg.eigh(rows.T @ rows)
    values, directions = values.flip(0).clamp(min=0), directions.flip(1)
    n_kept = int((values > RANK * values[0]).sum())
    if variance < 1 and n_kept:
        share = values.cumsum(0) / values.sum()
        n_kept = min(n_kept, int((share < variance - 1e-12).sum()) + 1)
    size = values[:n_kept].sqrt()
    return Basis(rows @ directions[:, :n_kept] / size, size[:, None] * directions[:, :n_kept].T)


def check_variance(variance: float) -> None:
    """Refuse a share that is none."""
    if not 0 < variance <= 1:
        raise InputError(f"variance is the share to keep, above 0 and at most 1, not {variance}")


def check_sizes(x: Basis, y: Basis, n: int) -> None:
    """Refuse so few tokens that some canonical correlations are 1 for any data."""
    if n <= x.size + y.size:
        raise InputError(
            f"{n} tokens are too few for canonical correlations of {x.size} with {y.size} directions: some are 1 "
            f"whatever the data; give more than {x.size + y.size} tokens (ten times as many is good), or keep fewer "
            "directions (SVCCA)"
        )


def correlations_between(x: Basis, y: Basis) -> Float[Tensor, " k"]:
    """The canonical correlations, largest first."""
    check_sizes(x, y, len(x.vectors))
    return torch.linalg.svdvals(x.vectors.T @ y.vectors).clamp(max=1.0)


def mean_correlation(x: Basis, y: Basis) -> float:
    """The mean canonical correlation: CCA, or SVCCA on truncated bases."""
    return float(correlations_between(x, y).mean())


def weighted_correlation(x: Basis, y: Basis) -> float:
    """PWCCA: the mean weighted by how much of x each canonical direction of x accounts for. Not symmetric."""
    check_sizes(x, y, len(x.vectors))
    directions, correlations, _ = torch.linalg.svd(x.vectors.T @ y.vectors, full_matrices=False)
    # |<h_i, x_j>| summed over the columns of x, where h_i = basis @ direction_i
    weights = (directions.T @ x.weights).abs().sum(1)
    return float((weights * correlations.clamp(max=1.0)).sum() / weights.sum())
