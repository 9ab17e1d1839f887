"""Scores into logits: one factor a problem, fitted on rows that the probe has not seen (after Platt 1999).

A factor leaves the most likely class as it is, so accuracy does not depend on it, only the log-loss does.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.probing.solving.softmax_problems import log_probabilities

STEPS = 60
LARGEST = 1e4


def best_scale(
    scores: Float[Tensor, "site problem column row"], labels: Int[Tensor, "problem row"]
) -> Float[Tensor, "site problem"]:
    """The factor, 0 or larger, with which the scores predict the labels best; the loss is convex in it.

    Golden section search over the factor times the spread of the scores, on a logarithmic scale.
    """
    spread = scores.flatten(2).std(-1).clamp_min(1e-12)
    low = torch.full_like(spread, -9.0)
    high = torch.full_like(spread, 9.0)
    ratio = (5**0.5 - 1) / 2

    def loss(log_scale: Tensor) -> Tensor:
        return mean_loss(scores * (log_scale.exp() / spread)[..., None, None], labels)

    for _ in range(STEPS // 2):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        better_left = loss(left) < loss(right)
        high, low = torch.where(better_left, right, high), torch.where(better_left, low, left)
    found = (low + high) / 2
    return torch.where(found < -8.9, 0, found.exp() / spread).clamp_max(LARGEST)


def mean_loss(
    logits: Float[Tensor, "site problem column row"], labels: Int[Tensor, "problem row"]
) -> Float[Tensor, "site problem"]:
    """Mean cross-entropy in nats over all rows."""
    return losses(logits, labels).mean(-1)


def losses(
    logits: Float[Tensor, "site problem column row"], labels: Int[Tensor, "problem row"]
) -> Float[Tensor, "site problem row"]:
    """Cross-entropy of every row in nats."""
    index = labels[None, :, None].expand(len(logits), -1, 1, -1)
    return -log_probabilities(logits).gather(2, index)[:, :, 0]
