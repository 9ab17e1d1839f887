"""Losses by algebra against the same solutions run on drawn inputs and on sums over all inputs."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from interp.superposition import closed_forms
from interp.superposition.architectures import absolute, relu_output
from interp.superposition.sampling import Draws, Exact


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
