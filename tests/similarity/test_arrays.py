"""Canonical correlations, Procrustes, RSA and neighbours against scikit-learn, scipy, and the papers' definitions."""

from __future__ import annotations

import numpy as np
import pandas as pd
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

    def neighbours(rows: np.ndarray, metric: str) -> list[set[int]]:
        found = NearestNeighbors(n_neighbors=8, metric=metric).fit(rows).kneighbors(rows)[1]
        return [{*row} - {i} for i, row in enumerate(found.tolist())]

    values = {}
    for metric in ("cosine", "euclidean"):
        expected = np.mean([len(a & b) / 7 for a, b in zip(neighbours(x, metric), neighbours(y, metric))])
        values[metric] = similarity.mutual_knn_of(x, y, k=7, metric=metric)
        assert values[metric] == pytest.approx(expected)
    assert values["cosine"] != pytest.approx(values["euclidean"]), "tokens of other lengths have other neighbours"
    assert similarity.mutual_knn_of(x, y, k=7) == values["cosine"]
    assert similarity.mutual_knn_of(x, 5 * x @ rotation(8).numpy(), k=7) == pytest.approx(1)


def test_unrelated_arrays_share_neighbours_by_chance_only() -> None:
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(300, 20)), generator.normal(size=(300, 20))
    assert similarity.mutual_knn_of(x, y) == pytest.approx(10 / 299, abs=0.01)


OF_TWO = [
    similarity.cka_of,
    lambda x, y: similarity.cka_of(x, y, kernel="rbf"),
    lambda x, y: float(similarity.canonical_correlations(x, y)[0]),
    similarity.cca_of,
    similarity.svcca_of,
    similarity.pwcca_of,
    similarity.procrustes_of,
    similarity.rsa_of,
    similarity.mutual_knn_of,
    *(
        lambda x, y, m=measure: similarity.compare_arrays({"x": x}, {"y": y}, m, n_permutations=6).map.item()
        for measure in similarity.MEASURES
    ),
]


@pytest.mark.parametrize("measure", OF_TWO)
def test_numbers_of_any_kind_on_either_side(measure) -> None:
    x, y = arrays(60)
    x, y = (4 * x).round(), (4 * y).round()  # whole numbers that every kind of number holds
    expected = measure(x, y)
    read_only = y.copy()
    read_only.flags.writeable = False
    for a, b in [
        (torch.tensor(x), torch.tensor(y).float()),
        (x.astype(np.float32), y),
        (x.astype(np.float16), torch.tensor(y).bfloat16()),
        (x.astype(np.int64), y.astype(np.int16)),
        (x.tolist(), read_only),
        (x[::-1][::-1], y.astype(np.longdouble)),
        (torch.tensor(x, requires_grad=True), pd.DataFrame(y)),
    ]:
        assert measure(a, b) == pytest.approx(expected, abs=1e-4)


def test_integers_beyond_float32_stay_exact() -> None:
    x, _ = arrays(60)
    whole = (1000 * x).round()
    assert similarity.mutual_knn_of(whole.astype(np.int64) + 10**9, whole + 1e9) == 1


def test_models_of_different_precision_are_compared() -> None:
    x, y = related(60)
    data = {"labels": ("x",), "second_labels": ("y",), "documents": torch.arange(60)}
    mixed = similarity.Representations(first=(x.double(),), second=(y,), **data)
    same = similarity.Representations(first=(x,), second=(y,), **data)
    values = [similarity.compare(each, n_permutations=6).map.item() for each in (mixed, same)]
    assert values[0] == pytest.approx(values[1], abs=1e-5)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([["a", "b"]] * 5, "matrix of numbers"),
        ([[1, 2], [3]], "rows of equal length"),
        (None, "matrix"),
        (np.ones((5, 2)) + 1j, "complex numbers"),
        (torch.eye(5).to_sparse(), "dense matrix .* sparse"),
    ],
)
def test_what_is_no_matrix_of_numbers_is_refused(bad: object, message: str) -> None:
    y = arrays(5)[1]
    for compare in (similarity.cka_of, similarity.compare_arrays):
        with pytest.raises(InputError, match=message):
            compare(bad, y)


def test_too_few_tokens_for_canonical_correlations() -> None:
    x, y = arrays(19)
    with pytest.raises(InputError, match="19 tokens are too few for canonical correlations of 8 with 11"):
        similarity.cca_of(x, y)
    with pytest.raises(InputError, match="more than 11 tokens, not 11"):
        similarity.mutual_knn_of(x[:11], y[:11])
