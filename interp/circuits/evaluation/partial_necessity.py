"""Partial necessity: cutting the circuit hurts more than cutting random ones (Shi et al. 2024, section 4.2)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from interp.circuits.evaluation.hypotheses import Outcome, fewest_to_reject, more_often_than


def partial_necessity_test(
    circuit: float, randoms: Float[Tensor, " random"], share: float = 0.9, tie: float = 0.0, alpha: float = 0.05
) -> Outcome:
    """H0: cutting the circuit's edges moves the model further than cutting at most `share` of random circuits does.

    circuit, randoms: unfaithfulness of the complements, mean |m(M without C) - m(M)|.
    """
    wins, n = int((randoms < circuit - tie).sum()), len(randoms)
    p = more_often_than(wins, n, share)
    fewest = fewest_to_reject(share, alpha)
    return Outcome(
        test="partial_necessity",
        statistic=wins / n,
        p_value=p,
        n=n,
        supports=p <= alpha if n >= fewest else None,
        null=f"cutting the circuit hurts more than cutting at most {100 * share:.0f} % of random circuits does",
        meaning="share of random circuits whose loss hurts less",
        note="" if n >= fewest else f"{n} random circuits are too few to reject; take at least {fewest}",
    )
