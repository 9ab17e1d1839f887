"""Equivalence: the circuit and the model outdo each other equally often (Shi et al. 2024, section 3.1)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from interp.circuits.evaluation.hypotheses import Outcome, off_balance


def equivalence_test(
    circuit: Float[Tensor, " example"],
    model: Float[Tensor, " example"],
    tie: float = 0.0,
    epsilon: float = 0.1,
    alpha: float = 0.05,
) -> Outcome:
    """H0: |P(m(C) > m(M)) - 1/2| <= epsilon over prompts.

    tie: metrics closer than this are equal; ties are left out (a circuit that equals the model on every prompt passes).
    The count of prompts goes into the binomial formula; the authors' software puts the mean difference there.
    """
    change = circuit - model
    wins, losses = int((change > tie).sum()), int((change < -tie).sum())
    n = wins + losses
    p = off_balance(wins, n, epsilon) if n else 1.0
    note = "" if n else "the circuit equals the model on every prompt"
    if n and off_balance(n, n, epsilon) > alpha:
        note = f"too few prompts without a tie ({n}) for this test ever to reject"
    return Outcome(
        test="equivalence",
        statistic=wins / n if n else 0.5,
        p_value=p,
        n=len(change),
        supports=None if "too few" in note else p > alpha,
        null=f"the circuit scores above the model on {50 - 100 * epsilon:.0f} to {50 + 100 * epsilon:.0f} % of prompts",
        meaning="share of prompts on which the circuit scores above the model",
        note=note,
    )
