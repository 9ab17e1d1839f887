"""Iterative nullspace projection (Ravfogel et al. 2020, "Null It Out: Guarding Protected Attributes by Iterative
Nullspace Projection").

A linear probe is learnt, its directions are projected out, another is learnt from what is left, and so on until a probe
does no better on held-out groups than the majority class. The projection is around the mean of the activations, so
that their mean stays; the paper projects around 0, which moves every activation by one constant more.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.probing.causal.affine import Eraser
from interp.probing.solving.decorrelating import decorrelate
from interp.probing.solving.families import Family
from interp.probing.solving.softmax_problems import Problems
from interp.probing.validating import predictions

CLOSE = 0.02
"""How much better than the majority class a probe may do for its property to count as gone."""
L2 = 0.01
"""Penalty of the probes; each is one of many, and none needs its own."""


def fit_nullspaces(
    x: Float[Tensor, "site row feature"],
    labels: Int[Tensor, " row"],
    fitted: Bool[Tensor, " row"],
    n_classes: int,
    max_rank: int,
) -> list[Eraser]:
    """One eraser a site, of at most `max_rank` directions.

    fitted: rows from which probes learn; on the others it is seen when they know nothing any more.
    """
    x = x.float()
    mean = x[:, fitted].mean(1, keepdim=True)
    left = x - mean
    bases = [x.new_zeros(x.shape[2], 0) for _ in x]
    held_out = labels[~fitted]
    majority = float(held_out.bincount(minlength=n_classes).max()) / len(held_out)
    going = list(range(len(x)))
    while going:
        directions, accuracy = _probe(left[going], labels, fitted, n_classes)
        still = []
        for i, site in enumerate(going):
            if accuracy[i] <= majority + CLOSE:
                continue
            grown = _extended(bases[site], directions[i], max_rank)
            if grown.shape[1] == bases[site].shape[1]:
                continue
            bases[site] = grown
            left[site] = (x[site] - mean[site]) - (x[site] - mean[site]) @ grown @ grown.T
            if grown.shape[1] < max_rank:
                still.append(site)
        going = still
    return [Eraser.projection(basis, mean[i, 0]) for i, basis in enumerate(bases)]


def _probe(
    x: Float[Tensor, "site row feature"], labels: Tensor, fitted: Tensor, n_classes: int
) -> tuple[Float[Tensor, "site column feature"], list[float]]:
    """The directions of a logistic probe at each site, and its accuracy on the rows that it did not learn from."""
    coordinates = decorrelate(x, fitted)
    rows = coordinates.of(x[:, fitted])
    learnt = labels[fitted][None]
    problems = Problems(rows, learnt, torch.ones(learnt.shape, device=rows.device), n_classes)
    penalty = torch.full((len(x), 1), L2, device=rows.device)
    probe = Family("logistic").fit(problems, penalty, coordinates.variance, 1e-5)
    right = predictions(probe.logits(coordinates.of(x[:, ~fitted])))[:, 0] == labels[~fitted]
    weight, _ = coordinates.weights_in_activations(probe.weight, probe.bias)  # type: ignore[attr-defined]
    directions = weight[:, 0]
    if n_classes > 2:
        directions = directions - directions.mean(1, keepdim=True)
    return directions, right.float().mean(1).tolist()


def _extended(
    basis: Float[Tensor, "feature direction"], directions: Float[Tensor, "column feature"], max_rank: int
) -> Float[Tensor, "feature more"]:
    """The basis with what the directions add to it, orthonormal."""
    new = directions.T - basis @ (basis.T @ directions.T)
    left, size, _ = torch.linalg.svd(new, full_matrices=False)
    left = left[:, size > 1e-4 * size.max().clamp_min(1e-30)]
    joined = torch.cat([basis, left], dim=1)[:, :max_rank]
    return torch.linalg.qr(joined).Q
