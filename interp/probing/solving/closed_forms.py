"""Probes that need no iteration: ridge regression on the classes, and the difference of class means.

Ridge: mean squared error to targets of -1 and 1, plus l2 * |W|^2, bias unpenalised; scikit-learn's
`RidgeClassifier(alpha=n * l2)`. Mean difference: the class whose mean is nearest; with two classes the direction is the
difference of the means, as used for steering (Marks & Tegmark 2023, "The Geometry of Truth").
Their scores order the classes and are no logits; `calibrating` makes them some.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from interp.probing.solving.linear import Linear
from interp.probing.solving.softmax_problems import Problems

ABSENT = -1e30
"""Score of a class that a problem has no row of: below that of any other, whatever the scale of the activations."""


def fit_ridge(problems: Problems, l2: Float[Tensor, "site problem"]) -> Linear:
    """The ridge solution of every problem at every site, by Cholesky factors shared among problems of equal rows."""
    weights, biases = [], []
    masks, which = problems.share.unique(dim=0, return_inverse=True)
    centred = [_centred(problems.x, mask) for mask in masks]
    factors: dict[tuple[int, tuple[float, ...]], Tensor] = {}
    for problem, mask in enumerate(which.tolist()):
        share, (mean, gram) = masks[mask], centred[mask]
        key = (mask, tuple(l2[:, problem].tolist()))
        if key not in factors:
            matrix = gram.clone()
            matrix.diagonal(dim1=-2, dim2=-1).add_(l2[:, problem, None] + 1e-7)
            factors[key] = torch.linalg.cholesky(matrix)
        target = targets(problems, problem)
        average = target @ share
        moments = ((target - average[:, None]) * share) @ (problems.x - mean[:, None])  # [site, column, feature]
        weight = torch.cholesky_solve(moments.mT, factors[key]).mT
        weights.append(weight)
        biases.append(average - (weight @ mean[..., None])[..., 0])
    weight = torch.stack(weights, dim=1)
    return Linear(weight, torch.stack(biases, dim=1), torch.ones_like(weight[..., 0, 0], dtype=torch.bool))


def fit_mean_difference(problems: Problems) -> Linear:
    """Nearest class mean as a linear probe, for every problem at every site."""
    n = problems.n_classes
    members = functional.one_hot(problems.labels, n).mT * problems.weights[:, None]  # [problem, class, row]
    counts = members.sum(-1)
    means = (members / counts[..., None].clamp_min(1)).flatten(0, 1).to(problems.x.dtype) @ problems.x
    means = means.unflatten(1, (len(problems.labels), n))
    bias = (-means.square().sum(-1) / 2).masked_fill(counts[None] == 0, ABSENT)
    if n == 2:
        means, bias = means[:, :, 1:] - means[:, :, :1], bias[..., 1:] - bias[..., :1]
    return Linear(means, bias, torch.ones_like(bias[..., 0], dtype=torch.bool))


def targets(problems: Problems, problem: int) -> Float[Tensor, "column row"]:
    """1 for the class of a column, -1 for the others."""
    labels = problems.labels[problem]
    if problems.n_columns == 1:
        return (2 * labels - 1)[None].to(problems.x.dtype)
    return (2 * functional.one_hot(labels, problems.n_classes).mT - 1).to(problems.x.dtype)


def _centred(x: Tensor, share: Tensor) -> tuple[Float[Tensor, "site feature"], Float[Tensor, "site feature feature"]]:
    mean = share @ x
    weighted = (x - mean[:, None]) * share.sqrt()[:, None]
    return mean, weighted.mT @ weighted
