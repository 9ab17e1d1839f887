"""The measures as their papers write them, on whole n × n matrices: what the fast ones are held against."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def linear_kernel(x: Tensor) -> Tensor:
    return x.double() @ x.double().T


def rbf_kernel(x: Tensor, bandwidth: float = 1.0) -> Tensor:
    """The width is the median distance between different tokens."""
    distances = torch.cdist(x.double(), x.double())
    upper = distances[tuple(torch.triu_indices(len(x), len(x), 1))]
    width = bandwidth * float(np.median(upper[upper > 1e-4 * upper.max()]))
    return torch.exp(-distances.square() / (2 * width**2))


def biased_hsic(k: Tensor, l: Tensor) -> Tensor:  # noqa: E741
    """tr(KHLH) / (n - 1)²: Gretton et al. 2005."""
    n = len(k)
    h = torch.eye(n, dtype=torch.float64) - 1 / n
    return torch.trace(k @ h @ l @ h) / (n - 1) ** 2


def unbiased_hsic(k: Tensor, l: Tensor) -> Tensor:  # noqa: E741
    """Song et al. 2012, equation 5."""
    n = len(k)
    k, l = k - torch.diag(k.diag()), l - torch.diag(l.diag())  # noqa: E741
    one = torch.ones(n, dtype=torch.float64)
    constant = (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2))
    return (torch.trace(k @ l) + constant - 2 / (n - 2) * (one @ k @ l @ one)) / (n * (n - 3))


def cka(k: Tensor, l: Tensor, estimator: str = "debiased") -> float:  # noqa: E741
    hsic = unbiased_hsic if estimator == "debiased" else biased_hsic
    return float(hsic(k, l) / (hsic(k, k) * hsic(l, l)).sqrt())


def pwcca(x: np.ndarray, y: np.ndarray) -> float:
    """Morcos et al. 2018, section 3: h_i the canonical variates of x, weights sum_j |<h_i, x_j>|."""
    x, y = x - x.mean(0), y - y.mean(0)
    qx, qy = np.linalg.qr(x)[0], np.linalg.qr(y)[0]
    u, rho, _ = np.linalg.svd(qx.T @ qy, full_matrices=False)
    weights = np.abs((qx @ u).T @ x).sum(1)
    return float((weights * rho).sum() / weights.sum())


def related(n: int = 120, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two representations of 20 and 30 dimensions that share ten."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 20, generator=generator) + 3
    mix = torch.randn(10, 30, generator=generator)
    return x, x[:, :10] @ mix + 2 * torch.randn(n, 30, generator=generator)


def rotation(d: int, seed: int = 0) -> Tensor:
    return torch.linalg.qr(torch.randn(d, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))[0]
