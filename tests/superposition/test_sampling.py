"""What toy models see: rates, values, who comes together; and sums over all inputs against draws."""

from __future__ import annotations

import pytest
import torch

from interp.superposition.closed_forms import covariance
from interp.superposition.sampling import Draws, Exact, Moments

N = 40_000


def draw(density: list[float], **options: object) -> torch.Tensor:
    """Inputs of the first seed, [setting, example, feature]."""
    source = Draws(torch.tensor(density), 4, **options)  # type: ignore[arg-type]
    return source.batch([torch.Generator().manual_seed(0)], N).x[:, 0]


@pytest.mark.parametrize("together", ["independent", "correlated", "anticorrelated"])
def test_every_feature_is_present_as_often_as_its_density_and_uniform_then(together: str) -> None:
    for x, density in zip(draw([0.5, 0.1], together=together), (0.5, 0.1)):
        present = x > 0
        assert (present.float().mean(0) - density).abs().max() < 4 * (density * (1 - density) / N) ** 0.5
        for feature in range(4):
            values = x[present[:, feature], feature]
            assert float(values.max()) <= 1
            grid = torch.tensor([0.25, 0.5, 0.75])
            assert (torch.quantile(values, grid) - grid).abs().max() < 0.04


def test_who_comes_together() -> None:
    together = draw([0.4], together="correlated")[0] > 0
    assert torch.equal(together[:, 0], together[:, 1])
    assert not torch.equal(together[:, 1], together[:, 2])
    apart = draw([0.4], together="anticorrelated")[0] > 0
    assert not (apart[:, 0] & apart[:, 1]).any()
    assert (apart[:, 1] & apart[:, 2]).any()
    alone = (draw([0.4])[0] > 0).float()
    assert (torch.corrcoef(alone.T) - torch.eye(4)).abs().max() < 0.02


def test_signed_values_have_mean_zero_and_reach_both_ends() -> None:
    x = draw([0.5], signed=True)[0]
    assert abs(float(x.mean())) < 0.01
    assert float(x.min()) < -0.99
    assert float(x.max()) > 0.99


def test_settings_see_the_same_numbers() -> None:
    dense, sparse = draw([0.8, 0.2])
    assert torch.allclose((dense * 0.8)[sparse > 0], (sparse * 0.2)[sparse > 0], atol=1e-6)
    assert torch.equal((sparse > 0) & (dense > 0), sparse > 0)


@pytest.mark.parametrize("density", [1.0, 0.3, 0.01])
def test_exact_inputs_have_the_moments_of_features(density: float) -> None:
    batch = Exact(torch.tensor([density], dtype=torch.float64), 3, n_points=4).batch([], 0)
    assert batch.weight is not None
    x, weight = batch.x[0, 0], batch.weight[0, 0]
    assert float(weight.sum()) == pytest.approx(1)
    expected = {1: density / 2, 2: density / 3, 3: density / 4}
    for power, moment in expected.items():
        assert (x.pow(power) * weight[:, None]).sum(0).tolist() == pytest.approx([moment] * 3)
    crossed = float((x[:, 0] * x[:, 1] ** 2 * weight).sum())
    assert crossed == pytest.approx(density / 2 * density / 3)


@pytest.mark.parametrize("together", ["independent", "correlated", "anticorrelated"])
def test_moments_are_those_of_draws(together: str) -> None:
    density = torch.tensor([0.5, 0.1])
    points = Moments(density, covariance(density.double(), 4, together)).batch([], 0).x[:, 0]
    drawn = draw([0.5, 0.1], together=together)
    for found, x in zip(points, drawn):
        torch.testing.assert_close(found.mean(0), x.mean(0), atol=0.01, rtol=0)
        torch.testing.assert_close(torch.cov(found.T, correction=0), torch.cov(x.T), atol=0.004, rtol=0)


def test_a_linear_model_loses_on_moments_what_it_loses_on_all_inputs() -> None:
    density = torch.tensor([0.3])
    w, bias = torch.randn(1, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0.1, -0.2, 0.3])
    exact, moments = Exact(density, 3, 4).batch([], 0), Moments(density, covariance(density.double(), 3)).batch([], 0)

    def errors(x: torch.Tensor) -> torch.Tensor:
        return (x @ w.T @ w + bias - x).square()

    assert exact.weight is not None
    expected = (errors(exact.x[0, 0]) * exact.weight[0, 0][:, None]).sum(0)
    torch.testing.assert_close(errors(moments.x[0, 0]).mean(0), expected, atol=1e-6, rtol=1e-5)
