"""Canonical correlations, Procrustes, RSA and neighbours against scikit-learn, scipy, and the papers' definitions."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.spatial
import scipy.stats
import torch
from sklearn.cross_decomposition import CCA
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from interp import similarity
from interp.errors import InputError
from interp.similarity.dissimilarities import mean_ranks
from tests.similarity.slow_twins import pwcca, related, rotation


def sklearn_correlations(x: np.ndarray, y: np.ndarray, k: int) -> np.ndarray:
    u, v = CCA(n_components=k, max_iter=5000, tol=1e-12).fit_transform(x, y)
    return np.array([np.corrcoef(u[:, i], v[:, i])[0, 1] for i in range(k)])


def arrays(n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    x, y = related(n)
    return x[:, 5:13].double().numpy(), y[:, :11].double().numpy()


def test_canonical_correlations_are_those_of_sklearn() -> None:
    x, y = arrays()
    found = similarity.canonical_correlations(x, y)
    assert len(found) == 8
    np.testing.assert_allclose(found[:6], sklearn_correlations(x, y, 6), atol=1e-4)
    assert similarity.cca_of(x, y) == pytest.approx(float(found.mean()))


def test_svcca_is_cca_of_the_principal_components() -> None:
    x, y = arrays()
    x = x * np.linspace(0.05, 3, 8)
    a, b = PCA(0.9).fit_transform(x), PCA(0.9).fit_transform(y)
    k = min(a.shape[1], b.shape[1])
    assert a.shape[1] < 8
    assert similarity.svcca_of(x, y, variance=0.9) == pytest.approx(sklearn_correlations(a, b, k).mean(), abs=1e-4)


def test_pwcca_is_what_its_paper_defines() -> None:
    x, y = arrays()
    assert similarity.pwcca_of(x, y) == pytest.approx(pwcca(x, y))
    assert similarity.pwcca_of(y[:, :8], x) == pytest.approx(pwcca(y[:, :8], x))


def test_cca_does_not_change_under_invertible_maps() -> None:
    x, y = arrays()
    mix = np.random.default_rng(0).normal(size=(8, 8))
    assert similarity.cca_of(x @ mix + 5, y) == pytest.approx(similarity.cca_of(x, y))
    assert similarity.pwcca_of(x, y @ np.random.default_rng(1).normal(size=(11, 11))) == pytest.approx(
        similarity.pwcca_of(x, y)
    )


def test_a_dimension_that_follows_from_others_is_no_direction() -> None:
    x, y = arrays()
    doubled = np.concatenate([x, x[:, :3] + x[:, 3:6], np.ones((len(x), 1))], axis=1)
    assert similarity.cca_of(doubled, y) == pytest.approx(similarity.cca_of(x, y), abs=1e-6)


def test_procrustes_is_scipys() -> None:
    x, y = arrays()
    _, _, disparity = scipy.spatial.procrustes(np.pad(x, ((0, 0), (0, 3))), y)
    assert 1 - similarity.procrustes_of(x, y) ** 2 == pytest.approx(disparity)
    assert similarity.procrustes_of(x, 3 * x @ rotation(8).numpy() + 1) == pytest.approx(1)


@pytest.mark.parametrize("distance", ["correlation", "cosine", "euclidean"])
def test_rsa_is_scipys(distance: str) -> None:
    x, y = arrays(80)
    x[10:20] = x[:10]  # repeated tokens: equal distances share their ranks
    expected = scipy.stats.spearmanr(*(scipy.spatial.distance.pdist(each, distance) for each in (x, y))).statistic
    assert similarity.rsa_of(x, y, distance=distance) == pytest.approx(expected, abs=1e-5)


def test_equal_numbers_share_their_rank() -> None:
    numbers = torch.tensor([3.0, 1, 3, 2, 1, 3])
    assert mean_ranks(numbers).tolist() == scipy.stats.rankdata(numbers).tolist()


def test_mutual_neighbours_are_those_of_sklearn() -> None:
    x, y = arrays(150)

    def neighbours(rows: np.ndarray) -> list[set[int]]:
        found = NearestNeighbors(n_neighbors=8, metric="cosine").fit(rows).kneighbors(rows)[1]
        return [{*row} - {i} for i, row in enumerate(found.tolist())]

    expected = np.mean([len(a & b) / 7 for a, b in zip(neighbours(x), neighbours(y))])
    assert similarity.mutual_knn_of(x, y, k=7) == pytest.approx(expected)
    assert similarity.mutual_knn_of(x, 5 * x @ rotation(8).numpy(), k=7) == pytest.approx(1)


def test_unrelated_arrays_share_neighbours_by_chance_only() -> None:
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(300, 20)), generator.normal(size=(300, 20))
    assert similarity.mutual_knn_of(x, y) == pytest.approx(10 / 299, abs=0.01)


def test_too_few_tokens_for_canonical_correlations() -> None:
    x, y = arrays(19)
    with pytest.raises(InputError, match="19 tokens are too few for canonical correlations of 8 with 11"):
        similarity.cca_of(x, y)
    with pytest.raises(InputError, match="more than 11 tokens"):
        similarity.mutual_knn_of(x[:11], y[:11])
