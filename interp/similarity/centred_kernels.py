"""Centred kernel alignment: how alike two kernels over the same tokens are, after centring. 1: the same up to scale.

Kornblith et al. 2019, "Similarity of Neural Network Representations Revisited": HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L,
L)), with the Hilbert-Schmidt independence criterion. The plain ("biased") estimate is far from 0 for unrelated
representations of few tokens in many dimensions. The "debiased" one puts the unbiased HSIC_1 of Song et al. 2012,
"Feature Selection via Dependence Maximization" (equation 5) in its place, which Nguyen et al. 2021, "Do Wide and Deep
Networks Learn the Same Things?", average over minibatches.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import InputError, unknown
from interp.runs import progress
from interp.similarity.kernel_sums import KernelSums

Estimator = Literal["debiased", "biased"]
FEWEST_TOKENS = {"debiased": 4, "biased": 2}


def check_estimator(estimator: str, n: int) -> None:
    """Refuse an estimator that is not there, or too few tokens for it."""
    if estimator not in get_args(Estimator):
        raise unknown("estimator", estimator, get_args(Estimator))
    if n < FEWEST_TOKENS[estimator]:
        raise InputError(f"the {estimator} estimate of CKA needs {FEWEST_TOKENS[estimator]} tokens or more, not {n}")


def hsic(
    products: Float[Tensor, "s s"],
    rows: Float[Tensor, "s n"],
    diagonal: Float[Tensor, "s n"],
    estimator: str = "debiased",
) -> Float[Tensor, "s s"]:
    """HSIC of all pairs of kernels from their sums (see `KernelSums`), in float64.

    biased: tr(KHLH) / (n - 1)², H the centring matrix. debiased: HSIC_1, whose expectation is 0 for independent tokens.
    """
    n = rows.shape[1]
    check_estimator(estimator, n)
    rows, diagonal = rows.double(), diagonal.double()
    if estimator == "biased":
        total = rows.sum(1)
        return (products - 2 / n * rows @ rows.T + torch.outer(total, total) / n**2) / (n - 1) ** 2
    off_rows = rows - diagonal
    total = off_rows.sum(1)
    off_products = products - diagonal @ diagonal.T
    constant = torch.outer(total, total) / ((n - 1) * (n - 2))
    return (off_products + constant - 2 / (n - 2) * off_rows @ off_rows.T) / (n * (n - 3))


def aligned(hsic_values: Float[Tensor, "*batch s s"]) -> Float[Tensor, "*batch s s"]:
    """CKA from the HSIC of all pairs. NaN where a representation does not vary."""
    own = hsic_values.diagonal(dim1=-2, dim2=-1).clamp(min=0).sqrt()
    size = own[..., :, None] * own[..., None, :]
    return torch.where(size > 1e-12, hsic_values / size, torch.nan).clamp(max=1.0)


def cka_from_sums(sums: KernelSums, estimator: str = "debiased") -> Float[Tensor, "s s"]:
    """CKA of all pairs of kernels."""
    return aligned(hsic(*sums.all(), estimator))


def cka_without_groups(sums: KernelSums, estimator: str = "debiased") -> Float[Tensor, "g s s"]:
    """CKA of all pairs with each group of tokens left out in turn, from the sums alone."""
    groups = progress(range(sums.n_groups), "intervals: leaving out documents in turn")
    return torch.stack([aligned(hsic(*sums.without(g), estimator)) for g in groups])
