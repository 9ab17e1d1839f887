"""The five tests on numbers: known binomial probabilities, and p-values that keep their promise under the null."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import binom, binomtest

from interp.circuits.evaluation.equivalence import equivalence_test
from interp.circuits.evaluation.hypotheses import fewest_to_reject, less_often_than, more_often_than, off_balance
from interp.circuits.evaluation.independence import hsic_permutation, independence_test
from interp.circuits.evaluation.partial_necessity import partial_necessity_test
from interp.circuits.evaluation.sufficiency import random_p_value, sufficiency_test


def test_binomial_p_values_are_scipys() -> None:
    for wins in (0, 27, 36, 40):
        assert more_often_than(wins, 40, 0.9) == pytest.approx(binomtest(wins, 40, 0.9, alternative="greater").pvalue)
        assert less_often_than(wins, 40, 0.9) == pytest.approx(binomtest(wins, 40, 0.9, alternative="less").pvalue)
    # Fourteen of 20: at least as far from one half are 14 and more, 6 and less, most likely at 0.6.
    assert off_balance(14, 20, 0.1) == pytest.approx(binom.sf(13, 20, 0.6) + binom.cdf(6, 20, 0.6))
    assert off_balance(6, 20, 0.1) == off_balance(14, 20, 0.1)
    assert off_balance(10, 20, 0.1) == 1.0


def uniform_or_conservative(p_values: torch.Tensor, slack: float = 0.03) -> None:
    """No level is rejected more often than it says, up to chance."""
    for level in (0.01, 0.05, 0.1, 0.25, 0.5):
        assert float((p_values <= level).double().mean()) <= level + slack


def test_equivalence_keeps_its_level_at_the_edge_of_the_null() -> None:
    generator = torch.Generator().manual_seed(0)
    # The circuit wins 60 % of the time: the least favourable case that still is "equivalent".
    wins = torch.rand(800, 60, generator=generator) < 0.6
    changes = torch.where(wins, 1.0, -1.0)
    p_values = torch.tensor([equivalence_test(change, torch.zeros(60)).p_value for change in changes])
    uniform_or_conservative(p_values)
    assert float((p_values <= 0.25).double().mean()) > 0.1  # and it is no test that never rejects


def test_equivalence_counts_prompts_and_not_the_mean() -> None:
    model = torch.zeros(100)
    shifted = torch.full((100,), 0.5)  # a mean difference of 0.5 is no probability of one half
    assert equivalence_test(shifted, model).p_value < 1e-6
    balanced = torch.cat([torch.full((50,), 9.0), torch.full((50,), -1.0)])
    found = equivalence_test(balanced, model)
    assert found.p_value == 1.0
    assert found.supports
    assert equivalence_test(model, model).supports
    assert equivalence_test(torch.ones(4), torch.zeros(4)).supports is None  # four prompts cannot reject


def test_independence_p_values_are_uniform_for_independent_scores() -> None:
    generator = torch.Generator().manual_seed(1)
    p_values = [
        hsic_permutation(torch.randn(20, generator=generator), torch.randn(20, generator=generator), 99, seed)[1]
        for seed in range(200)
    ]
    ordered = torch.tensor(p_values).sort().values
    # Kolmogorov-Smirnov: 1.63 / sqrt(200) is the 1 % point.
    assert (ordered - (torch.arange(200) + 0.5) / 200).abs().max() < 1.63 / 200**0.5


def test_the_widths_of_independence_are_numpys_medians() -> None:
    # The criterion of Gretton et al. 2005, (tr KHLH) / n², with 6 distances, whose median lies between two of them.
    values = [np.array([0.0, 1, 3, 7]), np.array([2.0, 0, 9, 4])]
    distances = [np.abs(each[:, None] - each) for each in values]
    widths = [np.median(each[np.triu_indices(4, 1)]) for each in distances]
    k, m = (np.exp(-(each**2) / (2 * width**2)) for each, width in zip(distances, widths))
    h = np.eye(4) - 1 / 4
    found, _ = hsic_permutation(*(torch.tensor(each) for each in values), n_permutations=1, seed=0)
    assert found == pytest.approx(np.trace(k @ h @ m @ h) / 16, rel=1e-9)


def test_independence_sees_a_dependence_that_correlation_does_not() -> None:
    x = torch.randn(60, generator=torch.Generator().manual_seed(0))
    found = independence_test(x**2, x)
    assert found.p_value < 0.01
    assert found.supports is False
    assert independence_test(torch.full((60,), 3.0), x).supports is None, "nothing depends on a constant"


def test_the_flexible_tests_keep_their_level() -> None:
    generator = torch.Generator().manual_seed(2)
    # Better than exactly 90 % of random circuits: the edge of the null hypothesis.
    p_values = []
    for _ in range(800):
        randoms = torch.rand(100, generator=generator)
        p_values.append(sufficiency_test(0.1, randoms).p_value)
    uniform_or_conservative(torch.tensor(p_values))
    randoms = torch.rand(100, generator=generator)
    assert sufficiency_test(-0.1, randoms).supports
    assert sufficiency_test(0.5, randoms).supports is False
    assert partial_necessity_test(1.1, randoms).supports
    assert partial_necessity_test(0.5, randoms).supports is False
    assert sufficiency_test(-0.1, randoms[:20]).supports is None
    assert fewest_to_reject(0.9, 0.05) == 29


def test_the_random_p_value_is_uniform_when_the_circuit_is_one_of_them() -> None:
    generator = torch.Generator().manual_seed(3)
    draws = torch.rand(1000, 20, generator=generator)
    p_values = torch.tensor([random_p_value(float(row[0]), row[1:]) for row in draws])
    for k in range(1, 21):  # exactly 1/20, 2/20, ... equally often
        assert float((p_values <= k / 20 + 1e-6).double().mean()) == pytest.approx(k / 20, abs=0.05)
    assert random_p_value(0.0, torch.ones(99)) == pytest.approx(0.01)
    assert random_p_value(1.0, torch.zeros(99)) == 1.0
