"""CKA against n × n matrices, closed forms, and the invariances that its authors prove."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.spatial
import torch

from interp.errors import InputError
from interp.similarity import cka_of
from interp.similarity.centred_kernels import cka_from_sums, cka_without_groups
from interp.similarity.kernel_sums import cheaper_way, kernel_sums
from interp.similarity.kernels import prepare_kernel
from tests.similarity.slow_twins import cka, linear_kernel, rbf_kernel, related, rotation

GROUP = torch.cat([torch.zeros(30), torch.ones(50), torch.full((40,), 2)]).long()


@pytest.mark.parametrize("way", ["blocks", "features"])
@pytest.mark.parametrize("estimator", ["biased", "debiased"])
def test_both_ways_give_what_whole_matrices_give(way: str, estimator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interp.similarity.kernel_sums.BLOCK", 17)
    x, y = related()
    sums = kernel_sums([prepare_kernel(x), prepare_kernel(y)], GROUP, way)
    assert cka_from_sums(sums, estimator)[0, 1] == pytest.approx(cka(linear_kernel(x), linear_kernel(y), estimator))
    without = cka_without_groups(sums, estimator)
    for g in range(3):
        kept = g != GROUP
        expected = cka(linear_kernel(x[kept]), linear_kernel(y[kept]), estimator)
        assert without[g, 0, 1] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("estimator", ["biased", "debiased"])
@pytest.mark.parametrize("bandwidth", [0.4, 1.0])
def test_radial_kernels(estimator: str, bandwidth: float) -> None:
    x, y = related()
    k, l = rbf_kernel(x, bandwidth), rbf_kernel(y, bandwidth)  # noqa: E741
    sums = kernel_sums([prepare_kernel(each, "rbf", bandwidth) for each in (x, y)], GROUP)
    assert cka_from_sums(sums, estimator)[0, 1] == pytest.approx(cka(k, l, estimator), abs=1e-5)
    kept = GROUP != 1
    expected = cka(k[kept][:, kept], l[kept][:, kept], estimator)
    assert cka_without_groups(sums, estimator)[1, 0, 1] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("n", [4, 6, 40, 42])
def test_the_width_is_numpys_median_of_the_distances(n: int) -> None:
    # 4 and 40 tokens have an even number of distances: their median lies between the two middle ones.
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    prepared = prepare_kernel(x, "rbf", 0.7)
    expected = 0.7 * np.median(scipy.spatial.distance.pdist(prepared.rows.numpy()))
    assert prepared.width == pytest.approx(expected, rel=1e-12)


def test_closed_forms() -> None:
    # Two orthonormal, centred columns against one of them: |X'Y|² / (|X'X| |Y'Y|) = 1 / √2.
    columns = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    assert cka_of(columns, columns[:, :1], estimator="biased") == pytest.approx(0.5**0.5)
    assert cka_of(columns[:, :1], columns[:, 1:], estimator="biased") == pytest.approx(0, abs=1e-7)
    x, _ = related()
    assert cka_of(x, x) == pytest.approx(1)


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
@pytest.mark.parametrize("estimator", ["biased", "debiased"])
def test_invariances_of_the_paper(kernel: str, estimator: str) -> None:
    x, y = (each.double() for each in related())
    value = cka_of(x, y, kernel, estimator)
    assert cka_of(x @ rotation(20), y, kernel, estimator) == pytest.approx(value, abs=1e-9)  # orthogonal
    assert cka_of(x, 7.5 * y, kernel, estimator) == pytest.approx(value, abs=1e-9)  # isotropic scaling
    assert cka_of(x + 40, y - 3, kernel, estimator) == pytest.approx(value, abs=1e-9)  # translation
    assert cka_of(y, x, kernel, estimator) == pytest.approx(value, abs=1e-9)
    stretched = x * torch.linspace(0.1, 10, 20, dtype=torch.float64)
    assert abs(cka_of(stretched, y, kernel, estimator) - value) > 0.05, "not under any invertible map"


def test_unrelated_data_of_few_tokens_look_alike_to_the_plain_estimate_only() -> None:
    values: dict[str, list[float]] = {"biased": [], "debiased": []}
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        x, y = (torch.randn(30, 100, generator=generator) for _ in range(2))
        for estimator, found in values.items():
            found.append(cka_of(x, y, estimator=estimator))
    assert torch.tensor(values["biased"]).mean() > 0.7
    assert abs(torch.tensor(values["debiased"]).mean()) < 0.02


def test_outliers_of_a_language_model_do_not_hurt_the_sums() -> None:
    x, y = related(300)
    x[:, 3] += 20_000
    x[:, 4] *= 300
    assert cka_of(x, y) == pytest.approx(cka(linear_kernel(x - x.mean(0)), linear_kernel(y)), abs=2e-5)


def test_the_cheaper_way_depends_on_the_number_of_sites() -> None:
    def way(n: int, n_sites: int) -> str:
        return cheaper_way([prepare_kernel(torch.randn(n, 20)) for _ in range(n_sites)])

    # blocks are cheaper below (sites + 1) d² / (d + sites) tokens: 54 and 107 here
    assert way(50, 2) == "blocks"
    assert way(80, 2) == "features"
    assert way(80, 6) == "blocks"
    assert way(110, 6) == "features"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x, y[:-1]), "unequal numbers of samples: 120 rows and 119"),
        (lambda x, y: (x[:3], y[:3]), "4 tokens or more"),
        (lambda x, y: (x * torch.nan, y), "x holds NaN"),
        (lambda x, y: (x, y / 0 * 1), "y holds NaN or infinite"),
        (lambda x, y: (x, y * 0 + 5), "y does not vary"),
        (lambda x, y: (x[0], y), "must be a dense matrix"),
    ],
)
def test_bad_arrays_are_refused(change, message: str) -> None:
    with pytest.raises(InputError, match=message):
        cka_of(*change(*related()))


def test_unknown_words_are_refused() -> None:
    x, y = related()
    with pytest.raises(InputError, match="'linear'"):
        cka_of(x, y, kernel="liner")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="'biased'"):
        cka_of(x, y, estimator="unbiased")  # type: ignore[arg-type]
