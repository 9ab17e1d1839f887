"""What toy models see: features that are mostly zero, drawn at random or summed over exactly.

A feature is present with a probability, the density 1 - S, and uniform on [0, 1] where it is (Elhage et al. 2022,
"Experiment setup"). One uniform number decides both: u < density is presence, u / density the value. Models of one seed
see the same numbers whatever their density, so that settings are compared on the same draws, and a model trained alone
sees what it sees among others.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import InputError, unknown

TOGETHER = ("independent", "correlated", "anticorrelated")
"""How features of a group are present: each for itself, all or none, at most one."""


class Batch(NamedTuple):
    """x: inputs of every setting and seed. weight: what each counts in the loss (None: all alike)."""

    x: Float[Tensor, "#setting #seed example feature"]
    weight: Float[Tensor, "#setting #seed example"] | None = None


@dataclass(frozen=True, eq=False)
class Draws:
    """Random inputs. density [setting]: share of inputs in which a feature is present.

    together, group_size: neighbouring features form groups of this size, and how those are present. signed: values are
    uniform on [-1, 1] and not on [0, 1].
    """

    density: Float[Tensor, " setting"]
    n_features: int
    together: str = "independent"
    group_size: int = 2
    signed: bool = False

    def __post_init__(self) -> None:
        if self.together not in TOGETHER:
            raise unknown("way of features to be present together", self.together, TOGETHER)
        if self.together == "independent":
            return
        if self.group_size < 2 or self.n_features % self.group_size:
            raise InputError(f"{self.n_features} features cannot be divided into groups of {self.group_size}")
        most = 1 / self.group_size
        if self.together == "anticorrelated" and float(self.density.max()) > most + 1e-6:
            raise InputError(
                f"of {self.group_size} features that exclude each other none can be present more often than "
                f"{most:.3g}; use a sparsity of at least {1 - most:.3g}"
            )

    def batch(self, generators: Sequence[torch.Generator], size: int) -> Batch:
        """`size` fresh inputs for every setting and seed; one generator a seed."""
        device = self.density.device
        n_groups = self.n_features // self.group_size
        events = n_groups if self.together != "independent" else 0
        u = torch.empty(len(generators), size, self.n_features + events, device=device)
        for row, generator in zip(u, generators, strict=True):
            row.uniform_(generator=generator)
        return Batch(self.values(u))

    def values(self, u: Float[Tensor, "seed example number"]) -> Float[Tensor, "setting seed example feature"]:
        """Inputs made of uniform numbers: one a feature, then one a group where features of a group depend."""
        density = self.density[:, None, None, None]
        own = u[..., : self.n_features]
        shared = u[..., self.n_features :].repeat_interleave(self.group_size, -1)
        if self.together == "independent":
            x = own / density
            absent = x >= 1
        elif self.together == "correlated":
            absent = shared >= density
            x = own.expand_as(absent).clone()
        else:  # the k-th feature of a group has the k-th slice of the group's number
            x = shared / density - torch.arange(self.n_features, device=u.device) % self.group_size
            absent = (x < 0) | (x >= 1)
        if self.signed:
            x = 2 * x - 1
        return x.masked_fill_(absent, 0.0)


class Exact:
    """All inputs there are, as points with weights: which features are present, and Gauss-Legendre points for values.

    The expected loss is then a sum and training has no noise. For few features: points grow as (n_points + 1) to the
    power of n_features. The sum is exact up to where a ReLU bends between points (about 1 % at 8 points).
    """

    def __init__(self, density: Float[Tensor, " setting"], n_features: int, n_points: int = 8) -> None:
        nodes, weights = np.polynomial.legendre.leggauss(n_points)
        values = [0.0, *((nodes + 1) / 2).tolist()]
        shares = torch.tensor([1.0, *(weights / 2).tolist()], dtype=torch.float64)
        chosen = list(itertools.product(range(n_points + 1), repeat=n_features))
        which = torch.tensor(chosen)
        self.density = density
        self.x = torch.tensor(values, dtype=density.dtype, device=density.device)[which.to(density.device)]
        present = which > 0
        p = density.double().cpu()[:, None, None]
        weight = (shares[which] * torch.where(present, p, 1 - p)).prod(-1)
        self.weight = weight.to(density)

    def batch(self, generators: Sequence[torch.Generator], size: int) -> Batch:
        """The same points every time; nothing is drawn and `size` is ignored."""
        return Batch(self.x[None, None], self.weight[:, None])


class Moments:
    """A few points with the mean and the covariance that features have, on which a linear model loses what it loses in
    expectation: its loss depends on nothing else. Not for training other models, nor for measuring them.
    """

    def __init__(
        self, density: Float[Tensor, " setting"], covariance: Float[Tensor, "setting feature feature"]
    ) -> None:
        self.density = density
        n = covariance.shape[-1]
        variances, directions = torch.linalg.eigh(covariance.double())
        out = (n * variances.clamp_min(0)).sqrt()[:, :, None] * directions.mT  # one on either side of the mean
        self.x = (torch.cat([out, -out], 1) + density.double()[:, None, None] / 2).to(density)

    def batch(self, generators: Sequence[torch.Generator], size: int) -> Batch:
        """The same points every time; nothing is drawn and `size` is ignored."""
        return Batch(self.x[:, None])


Source = Draws | Exact | Moments
"""Where inputs come from."""
