"""What a test of a circuit says, and the two ways in which the tests of Shi et al. count.

Shi et al. 2024, "Hypothesis Testing the Circuit Hypothesis in LLMs" (arXiv 2410.13032). The three idealised tests
(section 3: equivalence, independence, minimality) have the ideal as their null hypothesis, so that a rejection speaks
against the circuit and few prompts speak for it; the two flexible ones (section 4: sufficiency, partial necessity) ask
whether the circuit beats a share of random ones, and a rejection speaks for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

IDEALISED = ("equivalence", "independence", "minimality")
FLEXIBLE = ("sufficiency", "partial_necessity")
TESTS = (*IDEALISED, *FLEXIBLE)
VERDICTS = (
    "The null hypothesis of equivalence, independence and minimality is the ideal circuit: not rejected is no evidence "
    "for it, least of all with few prompts. That of sufficiency and partial necessity is a circuit no better than "
    "random ones: rejected speaks for it."
)
"""What to know about the verdicts of the tests."""
TWO_P_VALUES = (
    "p against random circuits is (1 + those at least as faithful) / (1 + all of them); the p of sufficiency is of "
    "another null hypothesis, that the circuit beats at most 90 % of them (binomial), so the two differ."
)
"""Why sufficiency and the headline have different p-values."""


@dataclass(frozen=True)
class Outcome:
    """One test of one circuit.

    statistic: what was counted or measured (see `meaning`); n: prompts or random circuits that it rests on;
    supports: whether the circuit passes at level alpha, None when the test cannot tell. To pass an idealised test is
    no evidence: its ideal was not rejected (see `verdict`).
    """

    test: str
    statistic: float
    p_value: float
    n: int
    supports: bool | None
    null: str
    meaning: str
    note: str = ""


def verdict(test: str, supports: float | bool | None) -> str:
    """What became of a test's null hypothesis, and whom that speaks for. supports: as in `Outcome`, NaN for None."""
    if supports is None or math.isnan(supports):
        return "undecided"
    if test in IDEALISED:
        return "not rejected" if supports else "rejected: against the circuit"
    return "rejected: for the circuit" if supports else "not rejected: nothing for the circuit"


def more_often_than(wins: int, n: int, share: float) -> float:
    """p-value of "wins at most this share of the time" against winning more often (binomial, exact)."""
    return _binomial(range(wins, n + 1), n, share)


def less_often_than(wins: int, n: int, share: float) -> float:
    """p-value of "wins at least this share of the time" against winning less often (binomial, exact)."""
    return _binomial(range(wins + 1), n, share)


def off_balance(wins: int, n: int, epsilon: float) -> float:
    """p-value of "wins between 1/2 - epsilon and 1/2 + epsilon of the time", from |wins / n - 1/2|.

    The largest probability under the null hypothesis of a share at least as far from one half, which is the one at its
    ends. wins: a count of prompts, not a mean difference.
    """
    far = abs(wins / n - 0.5)
    if far == 0:
        return 1.0
    return _binomial([k for k in range(n + 1) if abs(k / n - 0.5) >= far - 1e-9], n, 0.5 + epsilon)


def _binomial(counts: Iterable[int], n: int, share: float) -> float:
    """Probability that one of these counts of n comes up."""
    return min(1.0, math.fsum(math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in counts))


def fewest_to_reject(share: float, alpha: float) -> int:
    """How many random circuits a flexible test needs before beating all of them rejects its null hypothesis."""
    return math.ceil(math.log(alpha) / math.log(share))
