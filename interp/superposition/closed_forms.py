"""Losses that are algebra: what the best linear model reaches, and the candidate solutions of a ReLU model.

Features are independent, present with probability p, then uniform on [0, 1]; W has feature vectors of length 1 and the
bias is 0, except for features that are not represented, whose output is their mean. Trained models may do better than a
candidate, by other lengths and biases; none can be worse than the best candidate and be the best solution. After
Elhage et al. 2022, "Superposition as a Phase Change" ("toy toy models").
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

Density = Float[Tensor, "*shape"]


def variance(density: Density) -> Density:
    """p/3 - p²/4: variance of a feature, the least error that a constant leaves. Also that of |x| of a signed one."""
    return density / 3 - density**2 / 4


def digon(density: Density) -> Density:
    """p²/6: error of each of two features in an antipodal pair.

    Alone each is exact, since the ReLU removes what the other leaves; together each loses min(x₁, x₂)² or all of
    itself, and E min(x₁, x₂)² = 1/6.
    """
    return density**2 / 6


def triangle(density: Density) -> Density:
    """p²/8 + p³/24: error of each of three features at 120 degrees.

    With one other present 1/16 (E min(x₁, x₂/2)²), with both 1/6 (E min(x₁, (x₂ + x₃)/2)²). Three features of any
    importance lose more so than with the two least important in an antipodal pair: it is never the best candidate.
    """
    return density**2 * (1 - density) / 8 + density**3 / 6


def linear_optimum(
    importance: Float[Tensor, "setting feature"], density: Float[Tensor, " setting"], n_hidden: int
) -> Float[Tensor, " setting"]:
    """The least loss of any linear model: the variance of all but the `n_hidden` most important features.

    ‖diag(√I)(1 - WᵀW)‖² is at least what the best approximation of rank m leaves of diag(√I) (Eckart-Young), and the
    projection on the m most important features attains it: principal components, whatever the sparsity.
    """
    least = importance.sort(-1).values[:, : importance.shape[-1] - n_hidden]
    return least.sum(-1) * variance(density)


def covariance(
    density: Float[Tensor, " setting"], n_features: int, together: str = "independent", group_size: int = 2
) -> Float[Tensor, "setting feature feature"]:
    """Of features that are independent, that come together in groups (p/4 - p²/4) or exclude each other (-p²/4)."""
    group = torch.arange(n_features, device=density.device) // max(1, group_size)
    same = group[:, None] == group
    p = density[:, None, None]
    shared = {"independent": 0 * p, "correlated": p / 4 - p**2 / 4, "anticorrelated": -(p**2) / 4}[together]
    own = torch.eye(n_features, dtype=torch.bool, device=density.device)
    return torch.where(own, variance(p), shared * same)


def principal_components(
    importance: Float[Tensor, "setting feature"], covariance: Float[Tensor, "setting feature feature"], n_hidden: int
) -> Float[Tensor, " setting"]:
    """Loss of projecting the features on the first principal components of them, weighted by the roots of importances.

    The least of all linear models where features are independent or equally important; else one that is attained.
    """
    root = importance.double().sqrt()
    weighted = root[:, :, None] * covariance.double() * root[:, None]
    first = torch.linalg.eigh(weighted).eigenvectors[..., importance.shape[-1] - n_hidden :]
    left = torch.eye(importance.shape[-1], device=first.device, dtype=first.dtype) - first @ first.mT
    errors = (left @ covariance.double() @ left).diagonal(dim1=-2, dim2=-1)
    return (importance * errors).sum(-1).to(importance.dtype)


def best_by_hand(
    importance: Float[Tensor, "setting feature"],
    density: Float[Tensor, " setting"],
    n_hidden: int,
    together: str = "independent",
    group_size: int = 2,
) -> Float[Tensor, " setting"]:
    """The least loss of a ReLU output model that can be written down, so that no trained one need lose more.

    Dimensions go to single features, to antipodal pairs, or to principal components. A pair is of two independent
    features, or of two that exclude each other: that one loses nothing. For features that depend on each other pairs
    are only tried where all are equally important.
    """
    n, ordered = importance.shape[-1], importance.sort(-1, descending=True).values
    linear = principal_components(importance, covariance(density, n, together, group_size), n_hidden)
    if together != "independent" and not bool((ordered == ordered[:, :1]).all()):
        return linear
    in_pair = 0 * density if together == "anticorrelated" else digon(density)
    most = min(n_hidden, n - n_hidden, _n_pairs(n, together, group_size))
    found = [linear]
    for k in range(1, most + 1):
        paired, left_out = ordered[:, n_hidden - k : n_hidden + k], ordered[:, n_hidden + k :]
        found.append(paired.sum(-1) * in_pair + left_out.sum(-1) * variance(density))
    return torch.stack(found).amin(0)


def _n_pairs(n: int, together: str, group_size: int) -> int:
    """How many pairs there are at once of independent features, or of features that exclude each other."""
    if together == "anticorrelated":
        return group_size // 2 * (n // group_size)
    return 0 if together == "correlated" and n == group_size else n // 2


def dedicated_absolute(
    importance: Float[Tensor, "setting feature"], density: Float[Tensor, " setting"], n_hidden: int
) -> Float[Tensor, " setting"]:
    """Loss of computing |x| with two neurons for each of the n_hidden // 2 most important features, none for others."""
    return linear_optimum(importance, density, min(n_hidden // 2, importance.shape[-1]))


class Candidate(NamedTuple):
    """A solution of a model with one dimension less than it has features.

    name: what becomes of which features. share: dimensions of the last feature (0, 1/2 or 1). loss: by setting.
    """

    name: str
    share: float
    loss: Float[Tensor, " setting"]


def candidates(importance: Float[Tensor, "setting feature"], density: Float[Tensor, " setting"]) -> list[Candidate]:
    """One feature left out, or two in an antipodal pair; every other feature has a dimension of its own."""
    n = importance.shape[-1]
    out = []
    for i in reversed(range(n)):
        share = 0.0 if i == n - 1 else 1.0
        out.append(Candidate(f"without feature {i}", share, importance[:, i] * variance(density)))
    for i, j in itertools.combinations(range(n), 2):
        share = 0.5 if j == n - 1 else 1.0
        out.append(Candidate(f"{i} against {j}", share, (importance[:, i] + importance[:, j]) * digon(density)))
    return out
