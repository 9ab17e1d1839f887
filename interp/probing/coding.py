"""Description length by online coding (Voita & Titov 2020, "Information-Theoretic Probing with Minimum Description
Length", section 2.2): how many bits the labels take for one who knows the activations.

The first examples are sent with a uniform code; each further block with the code of a probe learnt from all blocks
before it. A property that is easily read from the activations takes few bits, since few examples suffice to learn it.
"""

from __future__ import annotations

import itertools
import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.probing.solving.calibrating import OWN_OR_NONE, SCALES, comparable, mixed_losses, spread
from interp.probing.solving.families import Family
from interp.probing.solving.softmax_problems import Problems

SHARES = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.0625, 0.125, 0.25, 0.5, 1.0)
"""Ends of the blocks as shares of all examples, as in the paper."""
FIRST = 8
"""Examples a class in the first block at least: fewer teach no probe anything."""


def block_ends(n: int, n_classes: int) -> list[int]:
    """Where the blocks end; the last end is n."""
    ends = sorted({round(share * n) for share in SHARES})
    least = min(n, FIRST * n_classes)
    return [least, *(end for end in ends if end > least)]


def code_lengths(
    family: Family,
    rows: Float[Tensor, "site example feature"],
    labels: Int[Tensor, "variant example"],
    order: Int[Tensor, " example"],
    variance: Float[Tensor, "site feature"],
    l2: Float[Tensor, " site"],
    n_classes: int,
) -> Float[Tensor, "site variant"]:
    """Bits for all labels of every variant at every site.

    The penalty stands for a prior that does not change as examples come in: l2 is that for all of them, so with a share
    s of them it is l2 / s. Labels are sent under a mixture (`mixed_losses`), weighed by how each did on the blocks
    before: of a uniform code with that of the probe, or, for scores that are no logits, of many scales. So no code is
    much longer than a uniform one; a probe's own would be, where the first groups are of one class.
    """
    order = order.to(rows.device)
    rows, labels = rows[:, order], labels.to(rows.device)[:, order]
    n = rows.shape[1]
    ends = block_ends(n, n_classes)
    bits = torch.full((len(rows), len(labels)), ends[0] * math.log2(n_classes), device=rows.device)
    belief: Tensor | None = None
    for begin, end in itertools.pairwise(ends):
        known, block = labels[:, :begin], labels[:, begin:end]
        problems = Problems(rows[:, :begin], known, torch.ones(known.shape, device=rows.device), n_classes)
        penalty = (l2 * n / begin)[:, None].expand(-1, len(labels))
        fitted = family.fit(problems, penalty, variance, 1e-6)
        scores = comparable(fitted.logits(rows[:, begin:]))
        if family.calibrated:  # by all rows to come: both ends of the line know the activations, and so their spread
            scores = scores / spread(scores)[..., None, None]
        scales = SCALES if family.calibrated else OWN_OR_NONE
        nats, belief = mixed_losses(scores[..., : end - begin], block, belief, scales)
        bits += nats / math.log(2)
    return bits
