"""Sufficiency: the circuit is more faithful than a share of random ones (Shi et al. 2024, section 4.1)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from interp.circuits.evaluation.hypotheses import Outcome, fewest_to_reject, more_often_than


def sufficiency_test(
    circuit: float, randoms: Float[Tensor, " random"], share: float = 0.9, tie: float = 0.0, alpha: float = 0.05
) -> Outcome:
    """H0: the circuit is closer to the model than at most `share` of random circuits.

    circuit, randoms: unfaithfulness (mean |m(C) - m(M)|). Random circuits are connected and have as many edges in every
    layer (see `sampling`), which is harder to beat than the paper's.
    """
    wins, n = int((randoms > circuit + tie).sum()), len(randoms)
    p = more_often_than(wins, n, share)
    fewest = fewest_to_reject(share, alpha)
    return Outcome(
        test="sufficiency",
        statistic=wins / n,
        p_value=p,
        n=n,
        supports=p <= alpha if n >= fewest else None,
        null=f"the circuit is more faithful than at most {100 * share:.0f} % of random circuits",
        meaning="share of random circuits that are less faithful",
        note="" if n >= fewest else f"{n} random circuits are too few to reject; take at least {fewest}",
    )


def random_p_value(circuit: float, randoms: Float[Tensor, " random"], tie: float = 0.0) -> float:
    """(1 + random circuits at least as faithful) / (1 + random circuits): uniform if the circuit is one of them."""
    return (1 + int((randoms <= circuit + tie).sum())) / (1 + len(randoms))
