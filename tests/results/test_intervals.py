from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch

from interp.errors import InputError
from interp.results import (
    FEWEST,
    Values,
    bootstrap_interval,
    interval_words,
    intervals,
    mean_with_interval,
    range_of_draws,
    range_words,
)


def sample(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow_interval(data: np.ndarray, seed: int, n_resamples: int) -> tuple[np.ndarray, np.ndarray]:
    """The definition, one resample at a time."""
    generator = torch.Generator().manual_seed(seed)
    n = len(data)
    draws = [torch.randint(n, (n,), generator=generator).numpy() for _ in range(n_resamples)]
    means = [data[rows].mean(0) for rows in draws]
    low, high = np.quantile(np.stack(means), [0.025, 0.975], axis=0)
    return low, high


def test_agrees_with_the_definition() -> None:
    data = sample(11, 4)
    low, high = bootstrap_interval(data, 0, n_resamples=200, seed=3)
    slow = slow_interval(data.numpy(), 3, 200)
    np.testing.assert_allclose(low, slow[0], rtol=1e-12)
    np.testing.assert_allclose(high, slow[1], rtol=1e-12)


def test_agrees_with_scipy_up_to_the_luck_of_the_draw() -> None:
    data = sample(40)
    low, high = bootstrap_interval(data, 0, n_resamples=20_000)
    theirs = scipy.stats.bootstrap((data.numpy(),), np.mean, n_resamples=20_000, method="percentile", rng=1)
    spread = data.std() / 40**0.5
    assert abs(low - theirs.confidence_interval.low) < 0.05 * spread
    assert abs(high - theirs.confidence_interval.high) < 0.05 * spread


def test_covers_the_true_mean_about_as_often_as_it_says() -> None:
    low, high = bootstrap_interval(sample(60, 2000), 0, n_resamples=500, level=0.9)
    assert ((low < 0) & (high > 0)).double().mean() == pytest.approx(0.89, abs=0.03)


def test_the_answer_does_not_depend_on_how_the_work_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    data = sample(7, 5, 3)
    whole = bootstrap_interval(data, 1, n_resamples=50)
    monkeypatch.setattr(intervals, "_BUDGET", 2000)  # a few columns and a few resamples at a time
    parts = bootstrap_interval(data, 1, n_resamples=50)
    assert tuple(whole[0].shape) == (7, 3)
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_columns_are_resampled_together() -> None:
    column = sample(9)
    low, _ = bootstrap_interval(torch.stack([column, column + 1], dim=1), 0)
    assert low[1] - low[0] == pytest.approx(1)


def test_a_constant_has_no_width_and_the_seed_decides() -> None:
    low, high = bootstrap_interval(torch.full((5,), 1e6), 0)
    assert low == high == 1e6
    data = sample(9)
    assert torch.equal(bootstrap_interval(data, 0, seed=1)[0], bootstrap_interval(data, 0, seed=1)[0])
    assert not torch.equal(bootstrap_interval(data, 0, seed=1)[0], bootstrap_interval(data, 0, seed=2)[0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.int64, torch.bool])
def test_any_numbers_will_do(dtype: torch.dtype) -> None:
    low, high = bootstrap_interval((sample(30) > 0).to(dtype), 0)
    assert 0 < low < high < 1


def test_few_examples_say_nothing_about_spread_and_none_are_refused() -> None:
    for n in range(1, FEWEST):
        low, high = bootstrap_interval(sample(n, 2), 0)
        assert low.isnan().all()
        assert high.isnan().all()
    assert not bootstrap_interval(sample(FEWEST, 2), 0)[0].isnan().any()
    with pytest.raises(InputError, match="at least one example"):
        bootstrap_interval(torch.ones(0, 2), 0)
    with pytest.raises(InputError, match="between 0 and 1, not 95"):
        bootstrap_interval(torch.ones(2), 0, level=95.0)


def test_a_column_with_nan_gives_nan_and_leaves_the_others_alone() -> None:
    data = sample(6, 2)
    data[0, 0] = float("nan")
    low, _ = bootstrap_interval(data, 0)
    assert low.isnan().tolist() == [True, False]


def test_mean_with_interval_keeps_the_other_axes_and_the_unit(per_example: Values) -> None:
    out = mean_with_interval(per_example)
    assert list(out) == ["mean", "low", "high"]
    assert out["mean"].dims == out["low"].dims == ("layer", "head")
    assert out["high"].unit == "logit difference"
    torch.testing.assert_close(out["mean"].data, per_example.data.mean(0))
    assert (out["low"].data <= out["mean"].data).all()
    assert (out["mean"].data <= out["high"].data).all()


def test_a_range_holds_most_draws_and_needs_enough_of_them() -> None:
    draws = torch.arange(101.0)[:, None].expand(101, 2)
    low, high = range_of_draws(draws, level=0.9)
    assert low.tolist() == pytest.approx([5, 5])
    assert high.tolist() == pytest.approx([95, 95])
    assert range_of_draws(draws[: FEWEST - 1])[0].isnan().all()
    assert not range_of_draws(draws[:FEWEST])[0].isnan().any()


def test_captions_speak_of_the_intervals_that_there_are() -> None:
    assert interval_words(16, "prompts") == "95 % intervals over 16 prompts"
    assert interval_words(3, "draws") == "no intervals, since 3 draws are too few for any"
    assert range_words(14) == "the range of 95 % of 14 draws"
    assert range_words(3) == "no range, since 3 draws are too few for any"
    assert interval_words(1, "prompts") == "no intervals, since 1 prompt is too few for any"
