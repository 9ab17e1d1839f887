"""What all probes that predict probabilities share: rows with weights, classes, the loss and its gradient.

A problem is a labelling of the same rows together with a weight for every row: folds are weights, and control tasks and
shuffles are labellings, so that all of them are columns of one matrix product. Logits are [site, problem, column, row]:
with the rows innermost, both the products and the softmax run several times faster than the other way round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

Logits = Float[Tensor, "site problem column row"]


@dataclass(eq=False)
class Problems:
    """Classification problems over the same rows at several sites.

    x: features (see `decorrelate`). labels: class of every row, problem by problem. weights: 0 for rows that a problem
    does not learn from. n_classes: with two there is one column of logits, for class 1; else one a class.
    """

    x: Float[Tensor, "site row feature"]
    labels: Int[Tensor, "problem row"]
    weights: Float[Tensor, "problem row"]
    n_classes: int
    _narrow: dict[tuple[int, ...], Tensor] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.share = self.weights / self.weights.sum(1, keepdim=True)

    @property
    def n_columns(self) -> int:
        """Columns of logits."""
        return columns(self.n_classes)

    def x_of(self, sites: Sequence[int]) -> Float[Tensor, "site row feature"]:
        """Features of some sites; the latest choice is remembered, since many steps ask for the same."""
        if len(sites) == len(self.x):
            return self.x
        key = tuple(sites)
        if key not in self._narrow:
            self._narrow.clear()
            self._narrow[key] = self.x[list(sites)]
        return self._narrow[key]


def columns(n_classes: int) -> int:
    """How many columns of logits so many classes need."""
    return 1 if n_classes == 2 else n_classes


def loss_and_slope(logits: Logits, problems: Problems) -> tuple[Float[Tensor, "site problem"], Logits]:
    """Mean cross-entropy of every problem in nats, and its derivative by the logits."""
    share = problems.share[None]
    if logits.shape[2] == 1:
        target = problems.labels[None].to(logits.dtype)
        flat = logits[:, :, 0]
        loss = functional.softplus(flat) - target * flat
        return (loss * share).sum(-1), ((flat.sigmoid() - target) * share)[:, :, None]
    target = problems.labels[None, :, None].expand(len(logits), -1, 1, -1)
    log_probs = logits.log_softmax(2)
    loss = -(log_probs.gather(2, target)[:, :, 0] * share).sum(-1)
    slope = log_probs.exp_()
    slope.scatter_add_(2, target, torch.full_like(slope[:, :, :1], -1.0))
    return loss, slope.mul_(share[:, :, None])


def log_probabilities(logits: Logits) -> Float[Tensor, "site problem class row"]:
    """Log-probability of every class in nats."""
    if logits.shape[2] == 1:
        return torch.cat([functional.logsigmoid(-logits), functional.logsigmoid(logits)], dim=2)
    return logits.log_softmax(2)


def mean_variance(logits: Logits, problems: Problems) -> Float[Tensor, "site problem column"]:
    """Mean of p (1 - p) of every column: how much the loss bends along it."""
    probs = logits.sigmoid() if logits.shape[2] == 1 else logits.softmax(2)
    return torch.einsum("spkn,pn->spk", probs * (1 - probs), problems.share)
