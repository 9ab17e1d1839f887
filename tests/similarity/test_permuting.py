"""The permutation test: exact where nothing is shared, also for tokens that come in documents, and seeing what is."""

from __future__ import annotations

import pytest
import torch

from interp.errors import InputError
from interp.similarity import MEASURES, compare_arrays
from interp.similarity.permuting import centred_matrix, exchangeable, exchanged, matrix_score, orders
from tests.circuits.test_memory import most_allocated
from tests.similarity.slow_twins import cka, linear_kernel, related

DOCUMENTS = torch.arange(12).repeat_interleave(6)


def documents_of_noise(generator: torch.Generator) -> torch.Tensor:
    """Tokens that are little more than their document."""
    return (torch.randn(12, 1, 3, generator=generator) + 0.3 * torch.randn(12, 6, 3, generator=generator)).flatten(0, 1)


def test_p_values_are_uniform_for_unrelated_documents_and_not_if_tokens_are_exchanged() -> None:
    generator = torch.Generator().manual_seed(0)
    by_document, by_token = [], []
    for seed in range(60):
        a, b = (centred_matrix(linear_kernel(documents_of_noise(generator)))[None] for _ in range(2))
        for documents, found in ((DOCUMENTS, by_document), (torch.arange(72), by_token)):
            layout = exchangeable(documents)
            found.append(exchanged(matrix_score(a, b), layout, 39, seed).p_value.item())
    p = torch.tensor(by_document)
    assert 0.01 <= (p <= 0.1).float().mean() <= 0.2
    assert 0.35 <= (p <= 0.5).float().mean() <= 0.65
    assert (torch.tensor(by_token) <= 0.1).float().mean() > 0.4


def test_among_many_unrelated_pairs_the_corrected_p_values_find_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    layout = exchangeable(DOCUMENTS)
    plain, adjusted = [], []
    for seed in range(60):
        sites = [documents_of_noise(generator) for _ in range(8)]
        stacked = torch.stack([centred_matrix(linear_kernel(x)) for x in sites])
        found = exchanged(matrix_score(stacked, stacked), layout, 39, seed, one_model=True)
        plain.append(bool((found.p_value <= 0.05).any()))
        adjusted.append(bool((found.p_adjusted <= 0.05).any()))
        assert found.p_adjusted.diagonal().isnan().all(), "a site with itself is no question"
        assert (found.p_adjusted.nan_to_num(1) >= found.p_value - 1e-9).all()
    assert sum(plain) > 30, "of 28 pairs some are below 0.05 nearly always"
    assert sum(adjusted) <= 9  # 3 expected; more than 9 in a thousandth of such series


def test_corrected_p_values_still_find_what_is_shared() -> None:
    generator = torch.Generator().manual_seed(1)
    x = documents_of_noise(generator)
    sites = [x, x + 0.2 * documents_of_noise(generator), *(documents_of_noise(generator) for _ in range(6))]
    stacked = torch.stack([centred_matrix(linear_kernel(each)) for each in sites])
    stacked[5] = torch.nan
    found = exchanged(matrix_score(stacked, stacked), exchangeable(DOCUMENTS), 99, 0, one_model=True)
    assert found.p_adjusted[0, 1] == found.p_adjusted[1, 0] == pytest.approx(0.01)
    assert found.p_adjusted[5].isnan().all()
    assert (found.p_adjusted.fill_diagonal_(torch.nan) <= 0.05).sum() == 2


def test_products_of_centred_matrices_are_debiased_cka() -> None:
    x, y = related()
    score = matrix_score(*(centred_matrix(linear_kernel(each - each.mean(0)))[None] for each in (x, y)))
    assert score(None).item() == pytest.approx(cka(linear_kernel(x), linear_kernel(y)), abs=1e-5)
    order = torch.randperm(len(y))
    assert score(order).item() == pytest.approx(cka(linear_kernel(x), linear_kernel(y[order])), abs=1e-5)


@pytest.mark.parametrize("measure", MEASURES)
def test_every_measure_sees_what_is_shared_and_what_is_not(measure: str) -> None:
    generator = torch.Generator().manual_seed(1)
    x, unrelated = torch.randn(90, 6, generator=generator), torch.randn(90, 5, generator=generator)
    y = x[:, :4] + 0.3 * torch.randn(90, 4, generator=generator)
    options = {"documents": torch.arange(90) // 3, "n_permutations": 39, "n_resamples": 100}
    shared = compare_arrays(x, y, measure, **options)
    assert shared.values["p_value"].data.item() == pytest.approx(1 / 40)
    assert shared.values["low"].data.item() > shared.values["chance_high"].data.item()
    assert shared.values["low"].data.item() <= shared.map.item() <= shared.values["high"].data.item()
    assert compare_arrays(x, unrelated, measure, **options).values["p_value"].data.item() > 0.05


def test_documents_stay_together_at_the_same_places() -> None:
    documents = torch.arange(9).repeat_interleave(torch.tensor([7, 7, 2, 7, 9, 7, 8, 7, 1]))
    layout = exchangeable(documents)
    assert layout.shape == (7, 7)
    assert all(documents[row].unique().numel() == 1 for row in layout)
    thin = exchangeable(documents, most=21)
    assert thin.shape == (7, 3)
    assert (thin - layout[:, :1]).unique(dim=0).shape[0] == 1, "the same places of all"
    for order in orders(layout, 5, seed=0):
        assert torch.equal(order.view(7, 7) % 7, torch.arange(7).expand(7, 7))


def test_few_documents_are_refused() -> None:
    with pytest.raises(InputError, match="4 are too few"):
        exchangeable(torch.arange(4).repeat_interleave(20))


def test_a_draw_allocates_no_matrices() -> None:
    """New ones of some 30 MB left holes in the heap between the results that are kept: 2000 draws took 23 GB."""
    matrices = torch.randn(3, 60, 60, generator=torch.Generator().manual_seed(0))
    score = matrix_score(matrices, matrices)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    expected = (matrices.flatten(1) @ matrices[:, order][:, :, order].flatten(1).T).double()
    torch.testing.assert_close(score(order), expected)
    torch.testing.assert_close(score(None), (matrices.flatten(1) @ matrices.flatten(1).T).double())
    assert most_allocated(lambda: score(order)) < matrices.nbytes / 4
