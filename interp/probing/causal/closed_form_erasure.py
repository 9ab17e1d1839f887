"""LEACE, least-squares concept erasure (Belrose et al. 2023, "LEACE: Perfect linear concept erasure in closed form").

After r(x) = x - W+ P W (x - mean), with W the whitening matrix of x and P the orthogonal projection onto the columns
of W Cov(x, z), z the one-hot class, every class has the same mean, so that no linear probe beats the best constant
prediction under any convex loss (section 3); and no other affine map that does so moves x less in the mean square, be
it measured in whatever inner product (section 4).
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from interp.probing.causal.affine import Eraser

LEAST = 1e-8
"""Share of the largest variance below which a direction has none."""
LEAST_COVARIANCE = 1e-6
"""Share of the largest singular value of the whitened covariance below which a direction carries no class."""


def fit_leace(
    x: Float[Tensor, "row feature"], labels: Int[Tensor, " row"], n_classes: int, *, shrink: bool = True
) -> Eraser:
    """The eraser of a labelling; its rank is at most the number of classes less one.

    shrink: shrink the covariance towards a multiple of the identity (Ledoit & Wolf 2004), which rows as few as the
    features need. That class means become equal on these rows holds either way; that x moves least, only without.
    """
    rows = x.double()
    mean = rows.mean(0)
    centred = rows - mean
    one_hot = functional.one_hot(labels.to(x.device), n_classes).double()
    cross = centred.T @ (one_hot - one_hot.mean(0)) / len(rows)
    covariance = shrunk_covariance(centred) if shrink else centred.T @ centred / len(rows)
    variance, basis = torch.linalg.eigh(covariance)
    known = variance > LEAST * variance.max()
    variance, basis = variance[known], basis[:, known]
    whiten = (basis * variance.rsqrt()) @ basis.T
    unwhiten = (basis * variance.sqrt()) @ basis.T
    left, size, _ = torch.linalg.svd(whiten @ cross, full_matrices=False)
    left = left[:, size > LEAST_COVARIANCE * size.max()][:, : n_classes - 1]
    return Eraser((whiten @ left).float(), (left.T @ unwhiten).float(), mean.float())


def shrunk_covariance(centred: Float[Tensor, "row feature"]) -> Float[Tensor, "feature feature"]:
    """The covariance of centred rows, shrunk by the amount of Ledoit & Wolf 2004, "A well-conditioned estimator for
    large-dimensional covariance matrices", lemma 3.3 and section 3.2."""
    n, d = centred.shape
    sample = centred.T @ centred / n
    average = sample.trace() / d
    spread = (sample.square().sum() / d) - average.square()
    noise = (centred.square().sum(1).square().sum() / n - sample.square().sum()) / (n * d)
    share = (noise.clamp(min=0, max=float(spread)) / spread.clamp_min(1e-30)).clamp(0, 1)
    return (1 - share) * sample + share * average * torch.eye(d, dtype=sample.dtype, device=sample.device)
