"""An affine map that takes something out of activations and leaves the rest: x - write read (x - mean)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Eraser:
    """x -> x - (x - mean) read write, of low rank; the mean of the activations stays where it is.

    read: directions along which is measured what is taken out. write: directions along which it is taken out; for an
    orthogonal projection the transposed `read`, orthonormal.
    """

    read: Float[Tensor, "feature direction"]
    write: Float[Tensor, "direction feature"]
    mean: Float[Tensor, " feature"]

    @classmethod
    def projection(cls, basis: Float[Tensor, "feature direction"], mean: Float[Tensor, " feature"]) -> Eraser:
        """The orthogonal projection that removes the span of orthonormal columns, around the mean."""
        return cls(basis, basis.T, mean)

    @property
    def rank(self) -> int:
        """How many directions are taken out."""
        return self.read.shape[1]

    def taken(self, x: Float[Tensor, "*row feature"]) -> Float[Tensor, "*row feature"]:
        """What is subtracted from each row."""
        return (x - self.mean.to(x)) @ self.read.to(x) @ self.write.to(x)

    def __call__(self, x: Float[Tensor, "*row feature"]) -> Float[Tensor, "*row feature"]:
        """The rows without it."""
        return x - self.taken(x)


def random_basis(d: int, rank: int, seed: int) -> Float[Tensor, "feature direction"]:
    """Orthonormal columns of a random subspace, uniform over all of that rank."""
    drawn = torch.randn(d, rank, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.linalg.qr(drawn).Q.float()


def as_long_as(move: Float[Tensor, "row feature"], model: Float[Tensor, "row feature"]) -> Float[Tensor, "row feature"]:
    """The moves in their own directions, each as long as its model."""
    return move * (model.norm(dim=-1, keepdim=True) / move.norm(dim=-1, keepdim=True).clamp_min(1e-12))
