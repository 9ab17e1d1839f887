"""Losses by algebra against the same solutions run on drawn inputs and on sums over all inputs."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from interp.superposition import closed_forms
from interp.superposition.architectures import absolute, relu_output
from interp.superposition.finishing import behind
from interp.superposition.sampling import TOGETHER, Draws, Exact


def errors(matrix: Tensor, bias: Tensor, density: float, n_points: int) -> list[float]:
    """Mean squared error of every feature, by quadrature."""
    batch = Exact(torch.tensor([density], dtype=torch.float64), matrix.shape[1], n_points).batch([], 0)
    assert batch.weight is not None
    weights = {"W": matrix.double()[None, None], "bias": bias.double()[None, None]}
    squares = (relu_output(weights, batch.x) - batch.x).square()
    return (squares * batch.weight[..., None]).sum(-2)[0, 0].tolist()


@pytest.mark.parametrize("density", [1.0, 0.5, 0.05])
def test_one_dimension_for_two_features(density: float) -> None:
    p = torch.tensor(density)
    first = errors(torch.tensor([[1.0, 0.0]]), torch.tensor([0.0, density / 2]), density, 60)
    assert first == pytest.approx([0.0, float(closed_forms.variance(p))], rel=1e-4, abs=1e-9)
    both = errors(torch.tensor([[1.0, -1.0]]), torch.zeros(2), density, 60)
    assert both == pytest.approx([float(closed_forms.digon(p))] * 2, rel=2e-3)


@pytest.mark.parametrize("density", [1.0, 0.5, 0.05])
def test_a_triangle_and_why_it_never_wins(density: float) -> None:
    angles = 2 * math.pi / 3 * torch.arange(3)
    found = errors(torch.stack([angles.cos(), angles.sin()]), torch.zeros(3), density, 24)
    expected = float(closed_forms.triangle(torch.tensor(density)))
    assert found == pytest.approx([expected] * 3, rel=5e-3)
    assert 3 * expected > 2 * float(closed_forms.digon(torch.tensor(density)))


def test_candidates_name_what_becomes_of_the_last_feature() -> None:
    importance, density = torch.tensor([[1.0, 4.0], [1.0, 0.1]]), torch.tensor([0.2, 0.9])
    made = {one.name: one for one in closed_forms.candidates(importance, density)}
    assert {name: one.share for name, one in made.items()} == {
        "without feature 1": 0.0,
        "without feature 0": 1.0,
        "0 against 1": 0.5,
    }
    torch.testing.assert_close(made["0 against 1"].loss, torch.tensor([5 * 0.04 / 6, 1.1 * 0.81 / 6]))
    torch.testing.assert_close(made["without feature 1"].loss, importance[:, 1] * closed_forms.variance(density))
    assert len(closed_forms.candidates(torch.ones(1, 3), torch.ones(1))) == 6


def test_two_neurons_compute_an_absolute_value() -> None:
    density = torch.tensor([0.7])
    x = Draws(density, 3, signed=True).batch([torch.Generator().manual_seed(0)], 50_000).x
    into = torch.tensor([[1.0, 0, 0], [-1, 0, 0]])[None, None]
    bias = torch.tensor([0, 0.35, 0.35])
    y = absolute({"W": into, "W_out": into.abs().mT, "bias": bias[None, None]}, x)
    loss = (y - x.abs()).square().mean(-2).sum()
    expected = closed_forms.dedicated_absolute(torch.ones(1, 3), density, 2)
    assert float(loss) == pytest.approx(float(expected), rel=0.02)
    assert float((y - x.abs())[..., 0].abs().max()) < 1e-6


def test_the_linear_optimum_is_a_sum_over_the_least_important() -> None:
    importance = torch.tensor([[0.2, 1.0, 0.5]])
    found = closed_forms.linear_optimum(importance, torch.tensor([1.0]), 2)
    assert found.tolist() == pytest.approx([0.2 / 12])
    assert closed_forms.linear_optimum(importance, torch.tensor([1.0]), 3).tolist() == [0.0]


@pytest.mark.parametrize("density", [0.9, 0.3, 0.05])
def test_the_best_by_hand_is_the_best_of_those_written_down(density: float) -> None:
    importance = torch.tensor([0.5, 1.0, 0.1, 0.8])
    first, second, third, last = importance.argsort(descending=True).tolist()
    losses = []
    for on_first, on_second in (([first], [second]), ([first], [second, third]), ([first, third], [second, last])):
        matrix, bias = torch.zeros(2, 4), torch.full((4,), density / 2)
        for row, pair in enumerate((on_first, on_second)):
            matrix[row, pair] = torch.tensor([1.0, -1.0])[: len(pair)]
            bias[pair] = 0
        losses.append(float(torch.tensor(errors(matrix, bias, density, 12)) @ importance))
    found = closed_forms.best_by_hand(importance[None], torch.tensor([density]), 2)
    assert float(found) == pytest.approx(min(losses), rel=0.02)


@pytest.mark.parametrize("together", TOGETHER)
def test_covariances_and_principal_components_are_those_of_draws(together: str) -> None:
    density = torch.tensor([0.3])
    x = Draws(density, 6, together, 3).batch([torch.Generator().manual_seed(0)], 200_000).x[0, 0].double()
    made = closed_forms.covariance(density, 6, together, 3)
    torch.testing.assert_close(made[0].double(), torch.cov(x.T), atol=1e-3, rtol=0)
    loss = closed_forms.principal_components(torch.ones(1, 6), made, 2)
    assert float(loss) == pytest.approx(float(torch.linalg.eigvalsh(torch.cov(x.T))[:4].sum()), rel=0.01)
    if together == "independent":
        importance = torch.tensor([[0.2, 1.0, 0.5, 0.1, 0.3, 0.4]])
        found = closed_forms.principal_components(importance, made, 2)
        torch.testing.assert_close(found, closed_forms.linear_optimum(importance, density, 2))


def test_features_that_exclude_each_other_lose_nothing_in_pairs() -> None:
    density = torch.tensor([0.4])
    x = Draws(density, 4, "anticorrelated").batch([torch.Generator().manual_seed(0)], 2000).x
    pairs = torch.tensor([[1.0, -1, 0, 0], [0, 0, 1, -1]])[None, None]
    assert float((relu_output({"W": pairs, "bias": torch.zeros(1, 1, 4)}, x) - x).abs().max()) < 1e-6
    assert float(closed_forms.best_by_hand(torch.ones(1, 4), density, 2, "anticorrelated")) == 0
    one_group = closed_forms.best_by_hand(torch.ones(1, 3), density, 1, "correlated", 3)
    linear = closed_forms.principal_components(
        torch.ones(1, 3), closed_forms.covariance(density, 3, "correlated", 3), 1
    )
    assert torch.equal(one_group, linear)  # no two features of one group are independent


def test_what_is_behind_a_solution_without_loss_is_measured_by_constant_outputs() -> None:
    known, constant = torch.tensor([1.0, 1.0, 0.0, 0.0]), torch.ones(4)
    assert behind(torch.tensor([1.04, 1.06, 0.019, 0.021]), known, constant).tolist() == [False, True, False, True]
