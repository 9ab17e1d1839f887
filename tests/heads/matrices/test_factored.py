"""Thin products against the whole matrices and against TransformerLens's factored matrices."""

from __future__ import annotations

import pytest
import torch
from transformer_lens import FactoredMatrix

from interp.heads.matrices.factored import Factored


def pair(rows: int = 30, inner: int = 5, columns: int = 30, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, inner, generator=generator), torch.randn(inner, columns, generator=generator)


def test_singular_values_and_vectors_are_those_of_the_whole_matrix() -> None:
    left, right = pair(columns=17)
    found = Factored(left, right).singular()
    whole = left.double() @ right.double()
    torch.testing.assert_close(found.S, torch.linalg.svdvals(whole)[:5])
    torch.testing.assert_close(found.U @ torch.diag(found.S) @ found.V.T, whole)
    torch.testing.assert_close(found.U.T @ found.U, torch.eye(5).double())
    torch.testing.assert_close(found.V.T @ found.V, torch.eye(5).double())
    torch.testing.assert_close(found.S.float(), FactoredMatrix(left, right).S, rtol=1e-4, atol=1e-4)


def test_eigenvalues_are_those_of_the_whole_matrix() -> None:
    left, right = pair()
    ours = Factored(left, right).eigenvalues()
    every = torch.linalg.eigvals(left.double() @ right.double())
    largest = every[every.abs().argsort(descending=True)[:5]]
    assert all((largest - value).abs().min() < 1e-9 for value in ours)
    theirs = FactoredMatrix(left, right).eigenvalues
    assert all((theirs - value.to(theirs.dtype)).abs().min() < 1e-3 for value in ours)
    assert (ours.abs().diff() <= 1e-9).all()


def test_the_inner_basis_does_not_matter() -> None:
    left, right = pair()
    turn = torch.linalg.qr(pair(5, 5, 5, seed=1)[0]).Q
    plain, turned = Factored(left, right), Factored(left @ turn, turn.T @ right)
    torch.testing.assert_close(plain.singular().S, turned.singular().S, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(plain.eigenvalues(), turned.eigenvalues(), rtol=1e-4, atol=1e-4)


def test_a_pair_above_the_real_line_comes_first() -> None:
    values = Factored(torch.tensor([[0.0, -2.0], [2.0, 0.0]])).eigenvalues()
    assert values[0].imag.item() == pytest.approx(2)
    assert values[1].imag.item() == pytest.approx(-2)


@pytest.mark.parametrize("factors", [2, 1])
def test_the_squared_norm_is_the_sum_of_squares(factors: int) -> None:
    left, right = pair()
    matrix = Factored(left, right if factors == 2 else None)
    assert matrix.squared_norm() == pytest.approx(float(matrix.whole.double().pow(2).sum()), rel=1e-5)
    assert matrix.squared_norm() == pytest.approx(float(matrix.singular().S.pow(2).sum()), rel=1e-5)


@pytest.mark.parametrize("of_rows", [True, False])
@pytest.mark.parametrize("factors", [2, 1])
def test_one_side_alone_has_the_same_vectors(of_rows: bool, factors: int) -> None:
    left, right = pair(12, 12, 20)
    matrix = Factored(left, right) if factors == 2 else Factored(left @ right)
    every = matrix.singular()
    cosines = (matrix.leading(of_rows, 3) @ (every.U if of_rows else every.V)[:, :3]).diagonal()
    torch.testing.assert_close(cosines.abs(), torch.ones(3).double())
