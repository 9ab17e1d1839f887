"""Intervals hold the truth as often as they say, and single tokens of documents are not taken for independent."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from interp.similarity.centred_kernels import cka_from_sums, cka_without_groups
from interp.similarity.kernel_sums import kernel_sums
from interp.similarity.kernels import prepare_kernel
from interp.similarity.uncertainty import contributions, grouped, interval

N_DOCUMENTS, LENGTH = 30, 8


def draw(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Tokens that share a good part with their document; y is a noisy linear map of x's sources."""
    shared = 0.8 * torch.randn(N_DOCUMENTS, 1, 4, generator=generator)
    sources = (shared + 0.6 * torch.randn(N_DOCUMENTS, LENGTH, 4, generator=generator)).flatten(0, 1)
    noise = torch.randn(len(sources), 4, generator=generator)
    return sources, sources * torch.tensor([1.0, 1, 0.5, 0.2]) + noise


def truth() -> float:
    """C_xx = I, C_xy = diag(a), C_yy = diag(a² + 1): CKA = |C_xy|² / (|C_xx| |C_yy|)."""
    a = torch.tensor([1.0, 1, 0.5, 0.2])
    return float(a.square().sum() / (2 * (a.square() + 1).norm()))


def ends(x: Tensor, y: Tensor, group: Tensor) -> tuple[float, float]:
    sums = kernel_sums([prepare_kernel(x), prepare_kernel(y)], group, "features")
    value = cka_from_sums(sums)[:1, 1:]
    contributed = contributions(value, cka_without_groups(sums)[:, :1, 1:], group.bincount())
    low, high = interval(value, contributed, 300)
    return low.item(), high.item()


def test_intervals_over_documents_hold_the_truth_and_those_over_tokens_do_not() -> None:
    generator = torch.Generator().manual_seed(0)
    documents = torch.arange(N_DOCUMENTS).repeat_interleave(LENGTH)
    covered, naive = [], []
    for _ in range(50):
        x, y = draw(generator)
        for group, found in ((documents, covered), (torch.randperm(240, generator=generator) % 30, naive)):
            order = group.argsort()
            low, high = ends(x[order], y[order], group[order])
            found.append(low <= truth() <= high)
    assert 0.88 <= sum(covered) / 50 <= 1
    assert sum(naive) < sum(covered) - 2


def test_contributions_of_a_mean_are_the_groups_own_means() -> None:
    # For a plain mean (small enough for Fisher's scale to be linear) pseudo-values are the groups' values.
    values = 1e-4 * torch.randn(5, dtype=torch.float64)
    whole = values.mean()
    without = (values.sum() - values) / 4
    torch.testing.assert_close(contributions(whole, without, torch.full((5,), 3)), values, atol=1e-11, rtol=1e-6)


def test_many_documents_are_put_together_evenly() -> None:
    documents = torch.arange(500).repeat_interleave(torch.randint(1, 30, (500,)))
    group = grouped(documents, most=20)
    assert group.unique().tolist() == list(range(20))
    for document in (3, 77, 400):
        assert group[documents == document].unique().numel() == 1
    assert group.bincount().max() - group.bincount().min() <= 2
    assert grouped(torch.tensor([4, 4, 9, 9, 9])).tolist() == [0, 0, 1, 1, 1]


def test_too_few_documents_have_no_interval() -> None:
    low, high = interval(torch.tensor([[0.5]]), torch.randn(4, 1, 1))
    assert low.isnan().all()
    assert high.isnan().all()


def test_an_interval_never_leaves_the_range_of_the_measure() -> None:
    x = torch.randn(100, 5, generator=torch.Generator().manual_seed(0))
    group = torch.arange(10).repeat_interleave(10)
    low, high = ends(x, x + 1e-3 * torch.randn(100, 5), group)
    assert 0.999 < low <= high <= 1
    assert ends(x, x, group) == pytest.approx((1, 1))
