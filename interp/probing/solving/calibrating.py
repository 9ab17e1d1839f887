"""Scores into probabilities: one factor a problem, learnt from rows that the probe has not seen.

A factor leaves the most likely class as it is, so accuracy does not depend on it, only the log-loss does. The factor
that predicts some rows best is infinite when every one of them is classified correctly, and then a single later mistake
would cost without bound. So the rows never have the last word: `best_scale` fits to smoothed targets (Platt 1999,
"Probabilistic Outputs for Support Vector Machines", section 2.2), `mixed_losses` averages over factors, 0 among them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.probing.solving.closed_forms import ABSENT
from interp.probing.solving.softmax_problems import log_probabilities

STEPS = 30
TINY = 1e-12
SCALES = (0.0, *(2.0**k for k in range(-3, 9)))
"""Factors that `mixed_losses` averages over, equally likely at first, in units of the scores' spread."""
OWN_OR_NONE = (0.0, 1.0)
"""Of what is logits already: a uniform code, and their own."""
SWITCH = 0.1
"""Share of the belief that starts anew with every block: later probes are better, and their scores worth more."""


def best_scale(
    scores: Float[Tensor, "site problem column row"], labels: Int[Tensor, "problem row"]
) -> Float[Tensor, "site problem"]:
    """The positive factor with which the scores predict smoothed labels best; the loss is convex in it.

    Where they mislead it is next to nothing, exp(-9) of their spread, but not 0: the most likely class stays the same.

    Of a class with m rows, each counts as (m + 1) / (m + K) of its own class and 1 / (m + K) of each other of the K:
    with two classes Platt's targets. Golden section search on a logarithmic scale.
    """
    known = comparable(scores)
    size = spread(known)
    low = torch.full_like(size, -9.0)
    high = torch.full_like(size, 9.0)
    ratio = (5**0.5 - 1) / 2

    def loss(log_scale: Tensor) -> Tensor:
        return smoothed_loss(known * (log_scale.exp() / size)[..., None, None], labels)

    for _ in range(STEPS):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        better_left = loss(left) < loss(right)
        high, low = torch.where(better_left, right, high), torch.where(better_left, low, left)
    found = (low + high) / 2
    return torch.where(size <= TINY, 0, found.exp() / size)


def smoothed_loss(
    logits: Float[Tensor, "site problem column row"], labels: Int[Tensor, "problem row"]
) -> Float[Tensor, "site problem"]:
    """Mean cross-entropy in nats with smoothed labels; see `best_scale`."""
    log_probs = log_probabilities(logits)
    n_classes = log_probs.shape[2]
    same = torch.nn.functional.one_hot(labels, n_classes).sum(1).gather(1, labels).to(logits.dtype)
    index = labels[None, :, None].expand(len(logits), -1, 1, -1)
    own = log_probs.gather(2, index)[:, :, 0]
    return -((same * own + log_probs.sum(2)) / (same + n_classes)).mean(-1)


def mixed_losses(
    scores: Float[Tensor, "site problem column row"],
    labels: Int[Tensor, "problem row"],
    belief: Float[Tensor, "scale site problem"] | None,
    scales: Sequence[float] = SCALES,
) -> tuple[Float[Tensor, "site problem"], Float[Tensor, "scale site problem"]]:
    """Nats that a block of labels takes under a mixture of all scales, and the belief in each of them afterwards.

    The scores are logits, or in units of their spread; belief is in logarithms, None before the first block. Between
    blocks a share of the belief goes back to all factors alike (Herbster & Warmuth 1998, "Tracking the Best Expert").
    All blocks together take at most log(len(scales)) nats more than with any one of the factors, and -log(1 - SWITCH)
    for every block after the first; 0 among them is a uniform code.
    """
    each = torch.stack([losses(scores * scale, labels).sum(-1) for scale in scales])
    prior = -math.log(len(scales))
    joint = (torch.full_like(each, prior) if belief is None else belief) - each
    nats = -joint.logsumexp(0)
    kept = joint + nats + math.log(1 - SWITCH)
    return nats, torch.logaddexp(kept, torch.full_like(kept, prior + math.log(SWITCH)))


def spread(scores: Float[Tensor, "site problem column row"]) -> Float[Tensor, "site problem"]:
    """Root mean square of the scores about indifference: about 0 for one column, else about the mean of a row."""
    off = scores if scores.shape[2] == 1 else scores - scores.mean(2, keepdim=True)
    return off.flatten(2).square().mean(-1).sqrt().clamp_min(TINY)


def comparable(scores: Float[Tensor, "site problem column row"]) -> Float[Tensor, "site problem column row"]:
    """Scores in which a class that the probe never met is no worse than the worst that it did.

    Of two classes, none is preferred when one was never met.
    """
    absent = scores.abs() > abs(ABSENT) / 2
    if scores.shape[2] == 1:
        return scores.masked_fill(absent, 0.0)
    worst = scores.masked_fill(absent, math.inf).amin(2, keepdim=True)
    return torch.where(absent, worst, scores)


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
