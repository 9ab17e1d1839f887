"""A fitted linear probe: what every linear family ends in."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(eq=False)
class Linear:
    """Logits are W x + b, times `scale` where a family's scores are no logits by themselves.

    One column for two classes, for class 1; else one a class.
    """

    weight: Float[Tensor, "site problem column feature"]
    bias: Float[Tensor, "site problem column"]
    converged: Bool[Tensor, "site problem"]
    scale: Float[Tensor, "site problem"] | None = None

    def logits(self, x: Float[Tensor, "site row feature"]) -> Float[Tensor, "site problem column row"]:
        """Logits of every row in every problem."""
        found = linear_logits(x, self.weight, self.bias)
        return found if self.scale is None else found * self.scale[:, :, None, None]


def linear_logits(
    x: Float[Tensor, "site row feature"],
    weight: Float[Tensor, "site problem column feature"],
    bias: Float[Tensor, "site problem column"],
) -> Float[Tensor, "site problem column row"]:
    """W x + b for every row in every problem, as one matrix product a site."""
    return torch.baddbmm(bias.flatten(1)[..., None], weight.flatten(1, 2), x.mT).unflatten(1, bias.shape[1:])


def backward(
    x: Float[Tensor, "site row feature"], slope: Float[Tensor, "site problem column row"]
) -> tuple[Float[Tensor, "site problem column feature"], Float[Tensor, "site problem column"]]:
    """The derivative by weights and bias from that by logits."""
    return (slope.flatten(1, 2) @ x).unflatten(1, slope.shape[1:3]), slope.sum(-1)
