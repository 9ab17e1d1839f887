"""The solvers against scikit-learn, closed forms and autograd."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.neighbors import NearestCentroid
from torch.nn import functional

from interp.errors import InputError
from interp.probing.solving.batched_lbfgs import minimise
from interp.probing.solving.calibrating import best_scale, comparable, mean_loss
from interp.probing.solving.closed_forms import ABSENT
from interp.probing.solving.decorrelating import decorrelate
from interp.probing.solving.families import Family, as_linear
from interp.probing.solving.logistic import LogisticObjective, fit_logistic
from interp.probing.solving.softmax_problems import Problems, log_probabilities
from interp.probing.solving.two_layers import TwoLayerObjective, TwoLayers
from interp.probing.validating import predictions
from tests.probing.planted import clusters


class Quadratic:
    """Sum of a_i (x_i - b_i)^2 / 2, badly scaled, without a useful preconditioner."""

    def __init__(self, a: torch.Tensor, b: torch.Tensor) -> None:
        self.a, self.b = a, b

    def value_and_gradient(self, theta, sites):
        off = theta - self.b[list(sites)]
        return (self.a[list(sites)] * off**2).sum(-1) / 2, self.a[list(sites)] * off

    def precondition(self, gradient, sites):
        return gradient.clone()


def test_every_problem_reaches_its_own_minimum() -> None:
    generator = torch.Generator().manual_seed(0)
    a = torch.rand(5, 3, 8, generator=generator) * torch.logspace(0, 3, 5)[:, None, None] + 0.1
    b = torch.randn(5, 3, 8, generator=generator)
    found, converged = minimise(Quadratic(a, b), torch.zeros(5, 3, 8))
    assert bool(converged.all())
    torch.testing.assert_close(found, b, atol=2e-3, rtol=0)


def test_too_few_steps_are_said() -> None:
    a, b = torch.logspace(0, 4, 8).expand(1, 1, 8), torch.ones(1, 1, 8)
    assert not bool(minimise(Quadratic(a, b), torch.zeros(1, 1, 8), max_steps=2)[1].any())


@pytest.mark.parametrize("n_classes", [2, 3, 5])
@pytest.mark.parametrize("l2", [1.0, 0.03, 0.001])
def test_logistic_has_the_optimum_of_scikit_learn(n_classes: int, l2: float) -> None:
    x, labels = clusters(n_classes=n_classes)
    train = torch.arange(len(labels)) % 3 != 0
    coordinates = decorrelate(x, train)
    rows = coordinates.of(x)
    # Two problems of the same rows: all training rows, and half of them.
    weights = torch.stack([train, train & (torch.arange(len(labels)) % 2 == 0)]).float()
    problems = Problems(rows, labels.expand(2, -1), weights, n_classes)
    probe = fit_logistic(problems, torch.full((2, 2), l2), coordinates.variance)
    assert bool(probe.converged.all())
    ours = log_probabilities(probe.logits(rows))
    scaled = ((x - coordinates.mean) / coordinates.std).double().numpy()
    for site in range(2):
        for problem in range(2):
            known = weights[problem].bool().numpy()
            oracle = LogisticRegression(C=1 / (l2 * known.sum()), tol=1e-9, max_iter=10_000)
            oracle.fit(scaled[site, known], labels.numpy()[known])
            theirs = torch.from_numpy(oracle.predict_log_proba(scaled[site]))
            held_out = ~train
            index = labels[held_out]
            mine = -ours[site, problem][:, held_out].gather(0, index[None]).mean()
            other = -theirs[held_out].gather(1, index[:, None]).mean()
            assert abs(float(mine) - float(other)) < 3e-4
            np.testing.assert_allclose(ours[site, problem].T.exp().numpy(), theirs.exp().numpy(), atol=0.01)


def test_a_start_nearby_does_not_change_the_optimum() -> None:
    x, labels = clusters()
    coordinates = decorrelate(x, torch.ones(300, dtype=torch.bool))
    problems = Problems(coordinates.of(x), labels[None], torch.ones(1, 300), 3)
    cold = fit_logistic(problems, torch.full((2, 1), 0.01), coordinates.variance)
    nearby = fit_logistic(problems, torch.full((2, 1), 0.1), coordinates.variance)
    warm = fit_logistic(problems, torch.full((2, 1), 0.01), coordinates.variance, nearby)
    torch.testing.assert_close(warm.logits(problems.x), cold.logits(problems.x), atol=0.02, rtol=0)


def test_ridge_is_scikit_learns_and_the_closed_form() -> None:
    x, labels = clusters(n_classes=3)
    l2, n = 0.3, len(labels)
    half = (torch.arange(n) % 2 == 0).float()
    problems = Problems(x, labels.expand(2, -1), torch.stack([torch.ones(n), half]), 3)
    probe = Family("ridge").fit(problems, torch.full((2, 2), l2), torch.ones(2, 12))
    scores = probe.logits(x)
    for site in range(2):
        for problem, rows in enumerate((torch.ones(n, dtype=torch.bool), half.bool())):
            oracle = RidgeClassifier(alpha=l2 * int(rows.sum())).fit(x[site, rows].double(), labels[rows])
            theirs = torch.from_numpy(oracle.decision_function(x[site].double())).T
            torch.testing.assert_close(scores[site, problem].double(), theirs, atol=2e-3, rtol=1e-3)
    centred = (x[0] - x[0].mean(0)).double()
    target = 2 * functional.one_hot(labels, 3).double() - 1
    closed = torch.linalg.solve(centred.T @ centred + l2 * n * torch.eye(12), centred.T @ (target - target.mean(0)))
    linear = as_linear(probe)
    assert linear is not None
    torch.testing.assert_close(linear.weight[0, 0].T.double(), closed, atol=1e-3, rtol=1e-3)


def test_ridge_with_two_classes() -> None:
    x, labels = clusters(n_classes=2)
    problems = Problems(x, labels[None], torch.ones(1, 300), 2)
    scores = Family("ridge").fit(problems, torch.full((2, 1), 0.1), torch.ones(2, 12)).logits(x)
    oracle = Ridge(alpha=30).fit(x[0].double(), 2 * labels - 1)
    np.testing.assert_allclose(scores[0, 0, 0], oracle.predict(x[0].double()), atol=2e-3)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_mean_difference_is_the_nearest_centroid(n_classes: int) -> None:
    x, labels = clusters(n_classes=n_classes)
    problems = Problems(x, labels[None], torch.ones(1, 300), n_classes)
    probe = Family("mean_difference").fit(problems, torch.ones(2, 1), torch.ones(2, 12))
    for site in range(2):
        theirs = NearestCentroid().fit(x[site], labels).predict(x[site])
        assert float((predictions(probe.logits(x))[site, 0].numpy() == theirs).mean()) > 0.99  # ties by rounding
    if n_classes == 2:
        linear = as_linear(probe)
        assert linear is not None
        difference = x[0, labels == 1].mean(0) - x[0, labels == 0].mean(0)
        torch.testing.assert_close(linear.weight[0, 0, 0], difference, atol=1e-4, rtol=1e-4)


def test_a_class_without_rows_is_never_named() -> None:
    x, labels = clusters(n_classes=3)
    problems = Problems(x, labels[None], (labels != 1).float()[None], 3)
    probe = Family("mean_difference").fit(problems, torch.ones(2, 1), torch.ones(2, 12))
    assert not bool((predictions(probe.logits(x)) == 1).any())


@pytest.mark.parametrize("inner_bias", [False, True])
@pytest.mark.parametrize("n_classes", [2, 4])
def test_gradients_of_two_layers_are_autograds(inner_bias: bool, n_classes: int) -> None:
    torch.manual_seed(0)
    x, labels = clusters(n=40, d=6, n_classes=n_classes)
    columns = 1 if n_classes == 2 else n_classes
    problems = Problems(x.double(), labels.expand(2, -1), torch.rand(2, 40).double(), n_classes)
    start = TwoLayers(
        torch.randn(2, 2, 3, 6).double(),
        torch.randn(2, 2, 3).double() if inner_bias else None,
        torch.randn(2, 2, columns, 3).double(),
        torch.randn(2, 2, columns).double(),
        torch.zeros(2, 2, dtype=torch.bool),
    )
    objective = TwoLayerObjective(problems, torch.rand(2, 2).double(), start, torch.ones(2, 6).double())
    _check_gradient(objective, start.flat())


def test_gradients_of_the_logistic_loss_are_autograds() -> None:
    x, labels = clusters(n=40, d=6)
    problems = Problems(x.double(), labels.expand(2, -1), torch.rand(2, 40).double(), 3)
    theta = torch.randn(2, 2, 21).double()
    objective = LogisticObjective(problems, torch.rand(2, 2).double(), theta, torch.ones(2, 6).double())
    _check_gradient(objective, theta)


def _check_gradient(objective, theta: torch.Tensor) -> None:
    direction = torch.randn_like(theta)
    step = 1e-6
    above, below = (objective.value_and_gradient(theta + sign * step * direction, [0, 1])[0] for sign in (1, -1))
    along = (objective.value_and_gradient(theta, [0, 1])[1] * direction).sum(-1)
    torch.testing.assert_close((above - below) / (2 * step), along, atol=1e-6, rtol=1e-5)


def test_a_perceptron_learns_what_no_linear_probe_can() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 400, 5, generator=generator)
    labels = ((x[0, :, 0] > 0) ^ (x[0, :, 1] > 0)).long()
    problems = Problems(x[:, :300], labels[None, :300], torch.ones(1, 300), 2)

    def accuracy(family: Family) -> float:
        probe = family.fit(problems, torch.full((1, 1), 0.001), torch.ones(1, 5))
        return float((predictions(probe.logits(x[:, 300:]))[0, 0] == labels[300:]).float().mean())

    assert accuracy(Family("logistic")) < 0.65
    assert accuracy(Family("mlp", hidden=16)) > 0.85


def test_a_low_rank_probe_has_its_rank_and_finds_a_task_of_that_rank() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 600, 10, generator=generator)
    angle = torch.atan2(x[0, :, 1], x[0, :, 0])
    labels = ((angle + torch.pi) / (2 * torch.pi) * 6).long().clamp_max(5)  # six sectors of a plane
    problems = Problems(x[:, :400], labels[None, :400], torch.ones(1, 400), 6)
    probe = Family("low_rank", rank=2).fit(problems, torch.full((1, 1), 0.001), torch.ones(1, 10))
    linear = as_linear(probe)
    assert linear is not None
    singular = torch.linalg.svdvals(linear.weight[0, 0])
    assert float(singular[2]) < 1e-5 * float(singular[0])
    assert float((predictions(probe.logits(x[:, 400:]))[0, 0] == labels[400:]).float().mean()) > 0.9
    one = Family("low_rank", rank=1).fit(problems, torch.full((1, 1), 0.001), torch.ones(1, 10))
    assert float((predictions(one.logits(x[:, 400:]))[0, 0] == labels[400:]).float().mean()) < 0.7


def test_coordinates_change_the_description_and_not_the_probe() -> None:
    x, labels = clusters()
    x[..., 3] = 7.0  # a constant feature
    coordinates = decorrelate(x, torch.ones(300, dtype=torch.bool))
    rows = coordinates.of(x)
    covariance = rows.mT @ rows / 300
    torch.testing.assert_close(covariance, torch.diag_embed(coordinates.variance), atol=2e-4, rtol=0)
    probe = fit_logistic(
        Problems(rows, labels[None], torch.ones(1, 300), 3), torch.full((2, 1), 0.1), coordinates.variance
    )
    weight, bias = coordinates.weights_in_activations(probe.weight, probe.bias)
    direct = (weight[:, 0] @ x.mT) + bias[:, 0, :, None]
    torch.testing.assert_close(direct, probe.logits(rows)[:, 0], atol=2e-3, rtol=1e-3)


def test_activations_that_are_not_finite_are_refused() -> None:
    x, _ = clusters()
    x[1, 5, 2] = float("nan")
    with pytest.raises(InputError, match="NaN or infinite"):
        decorrelate(x, torch.ones(300, dtype=torch.bool))


def slow_scale(scores: np.ndarray, labels: np.ndarray) -> float:
    """The factor that predicts smoothed labels best, row by row."""
    n_classes = max(2, len(scores))

    def loss(log_scale: float) -> float:
        total = 0.0
        for column, label in zip(scores.T * np.exp(log_scale), labels):
            logits = np.array([0.0, column[0]]) if len(column) == 1 else column
            same = int((labels == label).sum())
            target = (np.arange(n_classes) == label) * same + 1.0
            total -= (target / (same + n_classes)) @ (logits - logsumexp(logits))
        return total

    return float(np.exp(minimize_scalar(loss, bounds=(-12, 12), method="bounded", options={"xatol": 1e-6}).x))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_scale_is_the_one_that_scipy_finds(n_classes: int) -> None:
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(0, n_classes, (2, 60), generator=generator)
    truth = functional.one_hot(labels, n_classes).mT.float() + 0.7 * torch.randn(2, n_classes, 60, generator=generator)
    if n_classes == 2:
        truth = truth[:, 1:] - truth[:, :1]
    scale = best_scale(torch.stack([truth, truth * 40]), labels)
    torch.testing.assert_close(scale[0], scale[1] * 40, rtol=1e-3, atol=0)
    for problem in range(2):
        expected = slow_scale(truth[problem].double().numpy(), labels[problem].numpy())
        assert float(scale[0, problem]) == pytest.approx(expected, rel=2e-3)  # where float32 sees the least loss
    misleading = best_scale(-truth[None] * 5, labels)
    assert bool((misleading > 0).all())  # at 0 there would be no most likely class
    loss = mean_loss(-truth[None] * 5 * misleading[..., None, None], labels)
    assert float(loss.max()) == pytest.approx(math.log(n_classes), abs=2 * math.exp(-9))  # the least factor's cost


def test_rows_that_are_all_right_do_not_make_sure() -> None:
    labels = (torch.arange(20) % 2)[None]
    scale = best_scale((2.0 * labels - 1)[None, :, None], labels)
    assert float(torch.sigmoid(scale)) == pytest.approx(11 / 12, rel=1e-3)  # Laplace's rule for ten rows of a class
    assert float(best_scale(torch.zeros(1, 1, 1, 20), labels)) == 0


def test_a_class_that_was_never_met_spoils_no_scale() -> None:
    labels = torch.tensor([[0, 1, 0, 1, 2]])
    scores = torch.tensor([[2.0, -1, 3, -2, 0], [-2.0, 1, -3, 2, 0], [ABSENT] * 5])[None, None]
    assert comparable(scores)[0, 0, 2].tolist() == [-2, -1, -3, -2, 0]
    assert 0.1 < float(best_scale(scores, labels)) < 1  # 0, were its score taken as it is
    assert comparable(torch.full((1, 1, 1, 3), -ABSENT)).tolist() == [[[[0, 0, 0]]]]


@pytest.mark.parametrize(
    ("options", "n_classes", "message"),
    [
        ({"name": "logistc"}, 3, "did you mean 'logistic'"),
        ({"name": "low_rank"}, 2, "rank 1 anyway"),
        ({"name": "low_rank", "rank": 3}, 3, "use 2 or less"),
        ({"name": "mlp", "hidden": 0}, 3, "at least 1"),
    ],
)
def test_families_refuse_what_is_none(options: dict, n_classes: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Family(**options).check(n_classes)


@pytest.mark.parametrize("n", [211, 218, 225, 232])
def test_activations_that_are_the_same_in_every_example_have_no_spread(n: int) -> None:
    """As the embedding of one token: their distances from their mean are rounding, of which eigh could make nothing."""
    x = torch.randn(1, 1, 576, generator=torch.Generator().manual_seed(0)).expand(1, n, 576)
    coordinates = decorrelate(x, torch.ones(n, dtype=torch.bool))
    assert coordinates.variance.abs().max() == 0
    assert coordinates.of(x).abs().max() < 1e-5


def test_a_spectrum_that_float32_cannot_find_is_found_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = torch.linalg.eigh

    def fails(matrix: torch.Tensor) -> object:
        if matrix.dtype == torch.float32:
            raise torch.linalg.LinAlgError("failed to converge")
        return whole(matrix)

    x = torch.randn(1, 50, 6, generator=torch.Generator().manual_seed(0))
    expected = decorrelate(x, torch.ones(50, dtype=torch.bool))
    monkeypatch.setattr(torch.linalg, "eigh", fails)
    found = decorrelate(x, torch.ones(50, dtype=torch.bool))
    torch.testing.assert_close(found.variance, expected.variance, atol=1e-5, rtol=1e-5)
    assert found.basis.dtype == torch.float32
