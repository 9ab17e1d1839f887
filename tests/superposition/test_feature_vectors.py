"""Dimensions of features and names of shapes, for shapes drawn by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from interp.errors import InputError
from interp.superposition import dimensionality, dimensions_per_feature, gram, interference, polytopes, shape_of
from interp.superposition.feature_vectors import concentration
from tests.superposition.slow_twins import dimensionality_of


def regular(n: int) -> Tensor:
    """n vectors in the plane at equal angles."""
    angles = 2 * math.pi / n * torch.arange(n)
    return torch.stack([angles.cos(), angles.sin()])


def antiprism() -> Tensor:
    """Eight vectors in space: two squares, one turned by 45 degrees, at the heights that spread them evenly."""
    angles = math.pi / 2 * torch.arange(4)
    z = math.sqrt(1 / 3)
    flat = math.sqrt(1 - z * z)
    upper = torch.stack([flat * angles.cos(), flat * angles.sin(), torch.full((4,), z)])
    turned = angles + math.pi / 4
    lower = torch.stack([flat * turned.cos(), flat * turned.sin(), torch.full((4,), -z)])
    return torch.cat([upper, lower], 1)


TETRAHEDRON = torch.tensor([[1.0, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]]) / math.sqrt(3)
SHAPES = {
    "dedicated": (torch.ones(1, 1), 1.0),
    "digon": (torch.tensor([[1.0, -1.0]]), 1 / 2),
    "triangle": (regular(3), 2 / 3),
    "tetrahedron": (TETRAHEDRON, 3 / 4),
    "pentagon": (regular(5), 2 / 5),
    "square antiprism": (antiprism(), 3 / 8),
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("length", [1.0, 0.7])
def test_shapes_of_the_paper(name: str, length: float) -> None:
    matrix, share = length * SHAPES[name][0], SHAPES[name][1]
    assert dimensionality(matrix).tolist() == pytest.approx([share] * matrix.shape[1], abs=1e-5)
    assert shape_of(matrix) == name
    (group,) = polytopes(matrix)
    assert group.share == pytest.approx(share)
    assert float(dimensions_per_feature(matrix)) == pytest.approx(share / length**2)
    expected = [length**2 * (1 / share - 1)] * matrix.shape[1]
    assert interference(matrix).tolist() == pytest.approx(expected, abs=1e-5)


def test_shapes_side_by_side_are_told_apart() -> None:
    matrix = torch.block_diag(regular(5), torch.tensor([[1.0, -1.0]]), torch.tensor([[1.0]]), torch.tensor([[0.1]]))
    turned = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(0))).Q @ matrix
    assert shape_of(turned) == "pentagon + digon + dedicated"
    assert [group.features for group in polytopes(turned)] == [(0, 1, 2, 3, 4), (5, 6), (7,)]
    assert polytopes(turned, represented=0.005)[-1].features == (8,)
    assert shape_of(torch.zeros(2, 3)) == "nothing"
    with pytest.raises(InputError, match="of one model"):
        polytopes(matrix[None])


def test_dimensions_by_the_formula_and_at_most_as_many_as_there_are() -> None:
    models = torch.randn(3, 4, 9, generator=torch.Generator().manual_seed(1))
    models[0, :, 2] = 0
    found = dimensionality(models)
    for k, model in enumerate(models):
        assert found[k].tolist() == pytest.approx([dimensionality_of(model, i) for i in range(9)], abs=1e-5)
    assert found[0, 2] == 0
    assert (found.sum(-1) <= 4 + 1e-4).all()
    torch.testing.assert_close(gram(models)[1], models[1].T @ models[1])


def test_concentration_of_neurons() -> None:
    matrix = torch.tensor([[2.0, 0, 0], [1, 1, 0], [0, 0, 0]])
    assert float(concentration(matrix)) == pytest.approx((1 + 0.5) / 2)
