"""Sparse products and selections against their dense, obvious twins."""

from __future__ import annotations

import pytest
import torch

from saes.kernels.calibration import Plan, calibrate
from saes.kernels.selection import batch_top_k, top_k
from saes.kernels.support import DenseSupport, SparseSupport, from_mask

ROWS, D_SAE, D = 37, 64, 12


def numbers(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("share", [0.0, 0.02, 0.3])
def test_both_supports_give_the_same_products(share: float) -> None:
    mask = torch.rand(ROWS, D_SAE, generator=torch.Generator().manual_seed(0)) < share
    h, left, weight = numbers(1, ROWS, D_SAE), numbers(2, ROWS, D), numbers(3, D_SAE, D)
    sparse, dense = from_mask(mask, 1.0), DenseSupport(mask)
    assert isinstance(sparse, SparseSupport)
    values, full = sparse.pick(h), h * mask
    torch.testing.assert_close(sparse.decode(values, weight), full @ weight)
    torch.testing.assert_close(sparse.gather(values, left), full.T @ left)
    torch.testing.assert_close(sparse.column_sums(values), full.sum(0))
    torch.testing.assert_close(sparse.sample(left, weight), (left @ weight.T)[mask])
    torch.testing.assert_close(sparse.per_latent(weight[:, 0]), weight[:, 0].expand(ROWS, -1)[mask])
    torch.testing.assert_close(dense.decode(dense.pick(h), weight), full @ weight)
    torch.testing.assert_close(dense.gather(full, left), full.T @ left)
    torch.testing.assert_close(dense.column_sums(full), full.sum(0))
    torch.testing.assert_close(dense.sample(left, weight), (left @ weight.T) * mask)


def test_a_dense_mask_stays_a_mask() -> None:
    assert isinstance(from_mask(torch.ones(3, 8, dtype=torch.bool), 0.5), DenseSupport)


def test_segments_of_a_support() -> None:
    mask = torch.rand(ROWS, D_SAE, generator=torch.Generator().manual_seed(0)) < 0.3
    h, weight = numbers(1, ROWS, D_SAE), numbers(3, D_SAE, D)
    support = from_mask(mask, 1.0)
    assert isinstance(support, SparseSupport)
    prefixes = (5, 6, 40, D_SAE)
    parts = support.split(prefixes).decode(support.pick(h), weight).view(ROWS, len(prefixes), D)
    for i, size in enumerate(prefixes):
        expected = (h * mask)[:, :size] @ weight[:size]
        torch.testing.assert_close(parts.cumsum(1)[:, i], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("d_sae", [64, 1000, 1024])
@pytest.mark.parametrize("k", [1, 7, 32])
def test_top_k_through_groups(d_sae: int, k: int) -> None:
    scores = numbers(5, ROWS, d_sae)
    expected = scores.topk(k, dim=1).indices
    assert torch.equal(top_k(scores, k).sort(dim=1).values, expected.sort(dim=1).values)


@pytest.mark.parametrize("expected", [0.0, 1.0, 1.7, 50.0])
def test_batch_top_k_does_not_depend_on_the_guess(expected: float) -> None:
    scores = numbers(6, ROWS, D_SAE)
    support = batch_top_k(scores, 5, expected)
    flat = scores.flatten().topk(5 * ROWS).indices.sort().values
    assert torch.equal(support.rows * D_SAE + support.columns, flat)


def test_batch_top_k_with_equal_entries_and_too_few_positive_ones() -> None:
    scores = torch.zeros(4, 10)
    scores[:, :3] = 1.0
    assert len(batch_top_k(scores, 2, 0.5).columns) == 8
    assert len(batch_top_k(scores, 5, 0.5).columns) == 12
    assert len(batch_top_k(scores - 5, 5, 0.5).columns) == 0


def test_a_plan_is_measured_and_kept() -> None:
    plan = calibrate(32, 256)
    assert plan.encoder in ("float32", "bfloat16")
    assert 0 <= plan.max_density <= 0.5
    assert Plan(**plan.to_dict()) == plan
    assert calibrate(32, 256, precision="float32").encoder == "float32"
