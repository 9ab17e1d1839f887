"""Features in coordinates where gradient steps are good steps.

Standardised activations are strongly correlated, which is what makes plain gradient methods slow on them. In the basis
of the eigenvectors of their covariance the curvature of a linear probe is nearly diagonal. A rotation changes neither
the fitted probe nor an L2 penalty.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.errors import InputError

FLOOR = 1e-6
"""Features whose spread is below this share of the largest at their site, or of their own mean, where it is rounding,
are constant."""


@dataclass(eq=False)
class Coordinates:
    """x -> ((x - mean) / std) @ basis, fitted on the rows that a probe learns from.

    variance: of each new coordinate, largest last.
    """

    mean: Float[Tensor, "site 1 feature"]
    std: Float[Tensor, "site 1 feature"]
    basis: Float[Tensor, "site feature feature"]
    variance: Float[Tensor, "site feature"]

    def of(self, x: Float[Tensor, "site row feature"]) -> Float[Tensor, "site row feature"]:
        """Activations in the new coordinates."""
        return ((x.to(self.mean.dtype) - self.mean) / self.std) @ self.basis

    def weights_in_activations(
        self, weight: Float[Tensor, "site problem column feature"], bias: Float[Tensor, "site problem column"]
    ) -> tuple[Float[Tensor, "site problem column feature"], Float[Tensor, "site problem column"]]:
        """The same probe as weights and bias on the activations themselves."""
        rotated = weight @ self.basis.mT[:, None] / self.std[:, None]
        return rotated, bias - (rotated * self.mean[:, None]).sum(-1)


def decorrelate(
    x: Float[Tensor, "site row feature"], rows: Bool[Tensor, " row"], standardise: bool = True
) -> Coordinates:
    """Coordinates fitted on some of the rows. standardise: divide by the standard deviation, else only centre.

    Raises InputError for activations that are not finite.
    """
    known = x[:, rows].float()
    if not bool(known.isfinite().all()):
        raise InputError("some activations are NaN or infinite; look for the token that causes it, or use float32")
    mean = known.mean(1, keepdim=True)
    known -= mean
    std = known.square().mean(1, keepdim=True).sqrt()
    varies = (std > FLOOR * std.amax(2, keepdim=True)) & (std > FLOOR * mean.abs())
    std = std.where(varies, torch.ones_like(std)) if standardise else torch.ones_like(std)
    known.masked_fill_(~varies, 0).div_(std)
    variance, basis = _spectrum(known.mT @ known / known.shape[1])
    return Coordinates(mean, std, basis, variance.clamp_min(0))


def _spectrum(
    covariance: Float[Tensor, "site feature feature"],
) -> tuple[Float[Tensor, "site feature"], Float[Tensor, "site feature feature"]]:
    """Eigenvalues and eigenvectors; float32 may fail among hundreds of equal eigenvalues, as of a few repeated rows."""
    try:
        values, vectors = torch.linalg.eigh(covariance)
    except torch.linalg.LinAlgError:
        values, vectors = torch.linalg.eigh(covariance.double())
    return values.to(covariance.dtype), vectors.to(covariance.dtype)
