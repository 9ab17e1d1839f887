"""What the columns of W say: how long a feature's vector is, what it shares, how many dimensions it has to itself.

Everything takes W [..., hidden, feature]; leading axes are models. Elhage et al. 2022, "Demonstrating Superposition"
and "The Geometry of Superposition".
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

TINY = 1e-3
"""Features with a squared length below this are not there; Gram matrices divide by nothing smaller."""


def gram(weights: Float[Tensor, "*model hidden feature"]) -> Float[Tensor, "*model feature feature"]:
    """WᵀW: squared lengths of the feature vectors, and their inner products."""
    return weights.mT @ weights


def cosines(weights: Float[Tensor, "*model hidden feature"]) -> Float[Tensor, "*model feature feature"]:
    """Cosines of all pairs of feature vectors; 0 for features that are not there."""
    return gram(_directions(weights))


def interference(weights: Float[Tensor, "*model hidden feature"]) -> Float[Tensor, "*model feature"]:
    """Σ_{j≠i} (Ŵᵢ·Wⱼ)²: how much of others lies in a feature's direction; at 1 or more it has no dimension of its own.

    The paper colours features by it. 0 for features that are not there.
    """
    products = _directions(weights).mT @ weights
    return products.square().sum(-1) - products.diagonal(dim1=-2, dim2=-1).square()


def dimensionality(weights: Float[Tensor, "*model hidden feature"]) -> Float[Tensor, "*model feature"]:
    """Dᵢ = ‖Wᵢ‖² / Σⱼ (Ŵᵢ·Wⱼ)²: the share of a dimension that a feature has.

    1 for a feature with a dimension of its own, 1/2 in an antipodal pair, 2/3 in a triangle, 3/4 in a tetrahedron, 2/5
    in a pentagon, 0 for one that is not there. Over the features of a model they sum to at most the dimensions of its
    hidden layer.
    """
    length = weights.square().sum(-2)
    shared = (_directions(weights).mT @ weights).square().sum(-1)
    return torch.where(length < TINY, 0.0, length / shared.clamp_min(TINY))


def dimensions_per_feature(weights: Float[Tensor, "*model hidden feature"]) -> Float[Tensor, "*model"]:
    """D* = m / ‖W‖²: hidden dimensions for each feature that is represented, when their vectors have length 1."""
    return weights.shape[-2] / weights.square().sum((-2, -1)).clamp_min(TINY)


def concentration(weights: Float[Tensor, "*model hidden feature"]) -> Float[Tensor, "*model"]:
    """How much a neuron reads one feature alone: max Wₖᵢ² / Σᵢ Wₖᵢ², in the mean over neurons that read anything.

    1 where every neuron is monosemantic; a random direction among n features has about 2 ln(n) / n.
    """
    squares = weights.square()
    total = squares.sum(-1)
    reads = total >= TINY
    shares = torch.where(reads, squares.amax(-1) / total.clamp_min(TINY), 0.0)
    return shares.sum(-1) / reads.sum(-1).clamp_min(1)


def _directions(weights: Float[Tensor, "*model hidden feature"]) -> Float[Tensor, "*model hidden feature"]:
    """Ŵ: columns of length 1, or of zeros."""
    length = weights.norm(dim=-2, keepdim=True)
    return torch.where(length.square() < TINY, 0.0, weights / length.clamp_min(TINY))
