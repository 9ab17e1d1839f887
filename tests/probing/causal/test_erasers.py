"""LEACE against its definition, another form of its formula and scikit-learn; INLP against probes learnt anew."""

from __future__ import annotations

import pytest
import torch
from sklearn.covariance import ledoit_wolf
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional

from interp.probing.causal.affine import Eraser, as_long_as, random_basis
from interp.probing.causal.closed_form_erasure import fit_leace, shrunk_covariance
from interp.probing.causal.nullspace_projection import fit_nullspaces


def labelled(n: int = 400, d: int = 12, n_classes: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Correlated features far from 0 whose means differ by class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(n_classes, (n,), generator=generator)
    means = torch.randn(n_classes, d, generator=generator)
    mixing = torch.randn(d, d, generator=generator)
    return (torch.randn(n, d, generator=generator) + means[labels]) @ mixing + 5, labels


def published(x: Tensor, labels: Tensor, n_classes: int) -> Tensor:
    """P of theorem 4.2 as the paper writes it, by pseudo-inverses: x -> x - W+ (W S)(W S)+ W (x - mean)."""
    x = x.double()
    z = functional.one_hot(labels, n_classes).double()
    centred, z = x - x.mean(0), z - z.mean(0)
    covariance, cross = centred.T @ centred / len(x), centred.T @ z / len(x)
    left, size, right = torch.linalg.svd(covariance)
    whiten = (left * size.rsqrt()) @ right
    moved = whiten @ cross
    projection = moved @ torch.linalg.pinv(moved, rtol=1e-9)
    return torch.linalg.inv(whiten) @ projection @ whiten


@pytest.mark.parametrize("n_classes", [2, 4])
def test_leace_is_the_published_map(n_classes: int) -> None:
    x, labels = labelled(n_classes=n_classes)
    eraser = fit_leace(x, labels, n_classes, shrink=False)
    assert eraser.rank == n_classes - 1
    expected = x - (x - x.mean(0)) @ published(x, labels, n_classes).T.float()
    torch.testing.assert_close(eraser(x), expected, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("shrink", [True, False])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_after_leace_class_means_are_equal_and_no_linear_probe_beats_a_constant(n_classes: int, shrink: bool) -> None:
    x, labels = labelled(n_classes=n_classes)
    erased = fit_leace(x, labels, n_classes, shrink=shrink)(x)
    for label in range(n_classes):
        torch.testing.assert_close(erased[labels == label].mean(0), x.mean(0), atol=1e-3, rtol=1e-3)
    assert LogisticRegression(C=1e4, max_iter=5000).fit(x, labels).score(x, labels) > 0.8
    after = LogisticRegression(C=1e4, max_iter=5000).fit(erased, labels)
    share = labels.bincount() / len(labels)
    nats = -torch.from_numpy(after.predict_log_proba(erased))[torch.arange(len(labels)), labels].mean()
    assert float(nats) == pytest.approx(float(-(share * share.log()).sum()), abs=1e-4)


def test_leace_erases_even_where_rows_are_fewer_than_features() -> None:
    x, labels = labelled(n=30, d=50)
    erased = fit_leace(x, labels, 2)(x)
    torch.testing.assert_close(erased[labels == 0].mean(0), erased[labels == 1].mean(0), atol=1e-2, rtol=1e-3)


def test_no_other_eraser_moves_activations_less() -> None:
    x, labels = labelled()
    eraser = fit_leace(x, labels, 2, shrink=False)
    least = (x - eraser(x)).square().sum(1).mean()
    gap = x[labels == 1].mean(0) - x[labels == 0].mean(0)
    orthogonal = Eraser.projection(functional.normalize(gap, dim=0)[:, None], x.mean(0))
    assert least < (x - orthogonal(x)).square().sum(1).mean()
    # Any other map of rank 1 along the gap that erases: read directions r with r . gap = 1.
    generator = torch.Generator().manual_seed(1)
    for _ in range(50):
        read = eraser.read[:, 0] * eraser.write[0].norm() / gap.norm() + 0.05 * torch.randn(12, generator=generator)
        other = Eraser((read / (read @ gap))[:, None], gap[None], x.mean(0))
        torch.testing.assert_close(other(x)[labels == 1].mean(0), other(x)[labels == 0].mean(0), atol=1e-3, rtol=1e-3)
        assert least <= (x - other(x)).square().sum(1).mean() * (1 + 1e-5)


def test_leace_is_idempotent_and_follows_linear_maps() -> None:
    x, labels = labelled()
    eraser = fit_leace(x, labels, 2, shrink=False)
    torch.testing.assert_close(eraser(eraser(x)), eraser(x), atol=1e-3, rtol=1e-3)
    mixing = torch.randn(12, 12, generator=torch.Generator().manual_seed(3))
    mapped = fit_leace(x @ mixing, labels, 2, shrink=False)(x @ mixing)
    torch.testing.assert_close(mapped, eraser(x) @ mixing, atol=2e-2, rtol=1e-3)


def test_the_covariance_is_shrunk_as_scikit_learn_does() -> None:
    x, _ = labelled(n=40, d=30)
    centred = (x - x.mean(0)).double()
    expected, share = ledoit_wolf(centred.numpy(), assume_centered=True)
    assert 0.01 < share < 0.99
    torch.testing.assert_close(shrunk_covariance(centred), torch.from_numpy(expected), atol=1e-8, rtol=1e-8)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_inlp_leaves_nothing_to_a_linear_probe_and_projects_orthogonally(n_classes: int) -> None:
    x, labels = labelled(n=600, d=20, n_classes=n_classes)
    fitted = torch.arange(600) % 4 != 0
    nothing = torch.randn(600, 20, generator=torch.Generator().manual_seed(9))
    found, none = fit_nullspaces(torch.stack([x, nothing]), labels, fitted, n_classes, max_rank=15)
    assert n_classes - 1 <= found.rank <= 15
    assert none.rank <= n_classes - 1
    torch.testing.assert_close(found.read.T @ found.read, torch.eye(found.rank), atol=1e-5, rtol=0)
    torch.testing.assert_close(found(found(x)), found(x), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(found(x)[fitted].mean(0), x[fitted].mean(0), atol=1e-3, rtol=1e-3)
    probe = LogisticRegression(max_iter=5000).fit(found(x)[fitted], labels[fitted])
    majority = labels[~fitted].bincount().max() / int((~fitted).sum())
    assert probe.score(found(x)[~fitted], labels[~fitted]) < float(majority) + 0.08
    assert LogisticRegression(max_iter=5000).fit(x[fitted], labels[fitted]).score(x[~fitted], labels[~fitted]) > 0.85


def test_inlp_takes_out_no_more_than_the_rank_allows() -> None:
    x, labels = labelled(d=20, n_classes=4)
    (found,) = fit_nullspaces(x[None], labels, torch.arange(400) % 4 != 0, 4, max_rank=2)
    assert found.rank == 2


def test_random_controls_are_orthonormal_seeded_and_as_long_as_asked() -> None:
    basis = random_basis(30, 4, seed=1)
    torch.testing.assert_close(basis.T @ basis, torch.eye(4), atol=1e-5, rtol=0)
    assert torch.equal(basis, random_basis(30, 4, seed=1))
    assert not torch.allclose(basis, random_basis(30, 4, seed=2))
    x, model = torch.randn(7, 30), torch.randn(7, 30)
    moved = as_long_as(Eraser.projection(basis, x.mean(0)).taken(x), model)
    torch.testing.assert_close(moved.norm(dim=1), model.norm(dim=1))
