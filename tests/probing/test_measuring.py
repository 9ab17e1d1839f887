"""Nested cross-validation against scikit-learn's loops; description lengths; intervals."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV, Ridge
from sklearn.neighbors import NearestCentroid

from interp.probing.coding import block_ends, code_lengths
from interp.probing.parts import probe_sites
from interp.probing.scoring import mean_and_interval, with_exact_ends
from interp.probing.solving.calibrating import OWN_OR_NONE, SCALES, SWITCH, losses
from interp.probing.solving.decorrelating import decorrelate
from interp.probing.solving.families import FAMILIES, Family
from interp.probing.solving.softmax_problems import Problems
from interp.probing.validating import Design, choose_penalty, measure
from tests.probing.planted import clusters

GRID = (1.0, 0.1, 0.01, 0.001)


def design_of(labels: torch.Tensor, n_folds: int = 3, grid: tuple[float, ...] = GRID) -> Design:
    n = len(labels)
    folds = torch.arange(n) % n_folds
    inner = torch.stack([(torch.arange(n) // n_folds) % 2 for _ in range(n_folds)])
    control = labels[torch.randperm(n, generator=torch.Generator().manual_seed(1))]
    variants = torch.stack([labels, control])
    return Design(variants, variants, folds, inner, torch.arange(n), 2, int(labels.max()) + 1, grid)


def test_the_penalty_is_the_one_that_scikit_learn_chooses() -> None:
    x, labels = clusters(n=240)
    design = design_of(labels)
    train = design.folds != 0
    coordinates = decorrelate(x, train)
    rows, inner = coordinates.of(x[:, train]), design.inner[0][train]
    l2, curve = choose_penalty(Family("logistic"), rows, labels[train], inner, coordinates.variance, design)
    parts = [(np.flatnonzero(inner != k), np.flatnonzero(inner == k)) for k in range(2)]
    for site in range(2):
        scaled = ((x[site, train] - coordinates.mean[site]) / coordinates.std[site]).double().numpy()
        losses = np.zeros(len(GRID))
        for i, value in enumerate(GRID):
            for known, held_out in parts:
                oracle = LogisticRegression(C=1 / (value * len(known)), tol=1e-8, max_iter=5000)
                oracle.fit(scaled[known], labels[train][known])
                probs = oracle.predict_log_proba(scaled[held_out])
                losses[i] -= probs[np.arange(len(held_out)), labels[train][held_out]].sum() / len(inner)
        tried = ~curve[site].isnan()
        np.testing.assert_allclose(curve[site][tried], losses[tried.numpy()], atol=3e-3)
        assert math.isclose(float(l2[site]), GRID[int(losses.argmin())], rel_tol=1e-5)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cv = LogisticRegressionCV(Cs=[2 / (v * len(inner)) for v in GRID], cv=parts, scoring="neg_log_loss")
            cv.fit(scaled, labels[train])
        assert math.isclose(2 / (float(np.ravel(cv.C_)[0]) * len(inner)), float(l2[site]), rel_tol=1e-4)


def test_weaker_penalties_are_left_out_where_they_cannot_win() -> None:
    x, labels = clusters(noise=30.0)
    design = design_of(labels, grid=(10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001))
    rows = decorrelate(x, torch.ones(300, dtype=torch.bool))
    inner = design.inner[0]
    _, curve = choose_penalty(Family("logistic"), rows.of(x), labels, inner, rows.variance, design)
    assert bool(curve[:, -1].isnan().all())
    assert not bool(curve[:, 0].isnan().any())


@pytest.mark.parametrize("family", FAMILIES)
def test_every_example_is_predicted_by_probes_that_did_not_see_it(family: str) -> None:
    # The labels of each fold are a rule that no other fold follows: whoever sees the fold would do better than chance.
    x, labels = clusters(n=180, n_classes=3)
    design = design_of(labels, grid=(0.1, 0.01))
    rotated = (labels + design.folds) % 3
    variants = torch.stack([labels, rotated])
    design = Design(variants, variants, design.folds, design.inner, design.order, 2, 3, (0.1, 0.01))
    calls = []
    found = measure(Family(family, hidden=8), x, design, lambda: calls.append(1))
    assert len(calls) == 4
    accuracy = found.correct.float().mean(-1)
    assert float(accuracy[0, 0]) > 0.6
    assert float(accuracy[0, 1]) < 0.45
    assert found.loss.shape == (2, 2, 180)
    assert bool(found.loss.isfinite().all())
    assert float(found.loss[0, 0].mean()) < math.log(3)
    assert (found.probe is None) == (family == "mlp")
    assert float(found.code[0, 0]) < float(found.code[0, 1])


@pytest.mark.parametrize("family", ["ridge", "mean_difference"])
def test_held_out_losses_survive_one_mistake(family: str) -> None:
    x, labels = separable()
    found = measure(Family(family), x, design_of(labels, grid=(0.1, 0.01)), lambda: None)
    assert float(found.correct[0, 0].float().mean()) == pytest.approx(1 - 1 / 240)
    assert float(found.loss[0, 0].max()) < 25  # nats; a factor that ran away took thousands
    assert float(found.loss[0, 0].mean()) < 0.1


@pytest.mark.parametrize("family", ["ridge", "mean_difference"])
def test_accuracy_does_not_depend_on_the_scale(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, labels = clusters(n=120, noise=30.0, n_classes=2)  # next to nothing to read: the best scale is next to nothing
    design = design_of(labels, grid=(0.1,))
    found = measure(Family(family), x, design, lambda: None)
    monkeypatch.setattr("interp.probing.validating.best_scale", lambda scores, labels: torch.ones(scores.shape[:2]))
    assert torch.equal(measure(Family(family), x, design, lambda: None).correct, found.correct)


def test_sites_a_few_at_a_time_are_the_same_sites(monkeypatch: pytest.MonkeyPatch) -> None:
    x, labels = clusters(n=120, n_sites=3)
    design = design_of(labels, grid=(0.1, 0.01))
    whole = probe_sites(Family("logistic"), x, design, torch.device("cpu"), lambda n: None)
    monkeypatch.setattr("interp.probing.parts.BYTES_AT_ONCE", {"cpu": 1})
    done = []
    single = probe_sites(Family("logistic"), x, design, torch.device("cpu"), done.append)
    assert sum(done) == 3 * 4
    torch.testing.assert_close(single.loss, whole.loss, atol=2e-3, rtol=1e-2)
    assert whole.probe is not None
    assert single.probe is not None
    torch.testing.assert_close(single.probe.weight, whole.probe.weight, atol=2e-3, rtol=2e-2)


def test_blocks_grow_to_all_examples() -> None:
    ends = block_ends(2000, 5)
    assert ends[0] == 40
    assert ends[-1] == 2000
    assert ends == sorted(set(ends))
    assert block_ends(10, 5) == [10]


def test_description_lengths_are_short_for_what_is_easy_and_uniform_for_what_is_not() -> None:
    x, labels = clusters(n=600, noise=0.1)
    nothing = labels[torch.randperm(600, generator=torch.Generator().manual_seed(0))]
    order = torch.randperm(600, generator=torch.Generator().manual_seed(1))
    everything = decorrelate(x, torch.ones(600, dtype=torch.bool))
    for family in ("logistic", "ridge", "mean_difference"):
        bits = code_lengths(
            Family(family),
            everything.of(x),
            torch.stack([labels, nothing]),
            order,
            everything.variance,
            torch.full((2,), 0.01),
            3,
        )
        uniform = 600 * math.log2(3)
        assert float(bits[0, 0]) < 0.6 * uniform
        assert float(bits[0, 1]) > 0.95 * uniform


def separable(n_wrong: int = 1, n: int = 240) -> tuple[torch.Tensor, torch.Tensor]:
    """Two classes far apart, whose last examples bear the wrong label: learnt at once, then a mistake."""
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(0, 2, (n,), generator=generator)
    x = torch.randn(1, n, 6, generator=generator) * 0.3
    x[0, :, 0] += 4.0 * labels - 2.0
    labels[n - n_wrong :] = 1 - labels[n - n_wrong :]
    return x, labels


def slow_code(family: str, x: np.ndarray, labels: np.ndarray, l2: float) -> float:
    """Bits of the labels, sent one at a time by the mean of what every scale predicts, weighed by its record."""
    n, ends = len(labels), block_ends(len(labels), 2)
    bits, weights = float(ends[0]), np.full(len(SCALES), 1 / len(SCALES))
    for begin, end in itertools.pairwise(ends):
        if family == "ridge":  # the penalty is that of the mean loss for all examples, l2 n / begin for those known
            probe = Ridge(alpha=l2 * n).fit(x[:begin], 2 * labels[:begin] - 1)
            scores = probe.predict(x[begin:])
        else:
            zero, one = NearestCentroid().fit(x[:begin], labels[:begin]).centroids_
            scores = x[begin:] @ (one - zero) - (one @ one - zero @ zero) / 2
        scores = scores / np.sqrt(np.mean(scores**2))
        for score, label in zip(scores, labels[begin:end]):
            predicted = 1 / (1 + np.exp(-np.clip(np.array(SCALES) * score * (2 * label - 1), -600, 600)))
            bits -= np.log2(weights @ predicted)
            weights = weights * predicted / (weights @ predicted)
        weights = (1 - SWITCH) * weights + SWITCH / len(SCALES)
    return bits


@pytest.mark.parametrize("family", ["ridge", "mean_difference"])
def test_one_mistake_after_many_that_were_right_costs_little(family: str) -> None:
    x, labels = separable()
    order = torch.arange(len(labels))
    bits = code_lengths(Family(family), x, labels[None], order, torch.ones(1, 6), torch.tensor([0.01]), 2)
    expected = slow_code(family, x[0].double().numpy(), labels.numpy(), 0.01)
    assert float(bits) == pytest.approx(expected, rel=1e-3)
    assert float(bits) < 0.3 * len(labels)  # of a uniform code; a factor fitted to what was right took 40 times as much


@pytest.mark.parametrize("family", ["logistic", "ridge", "mean_difference"])
@pytest.mark.parametrize("n_classes", [2, 5])
def test_no_code_is_much_longer_than_a_uniform_one(family: str, n_classes: int) -> None:
    # Separable at first, misleading from the middle on; and one class that is not met before.
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, n_classes - 1, (400,), generator=generator)
    x = torch.nn.functional.one_hot(labels, 8).float()[None] * 3
    labels[200:] = (labels[200:] + 1) % n_classes
    bits = code_lengths(
        Family(family), x, labels[None], torch.arange(400), torch.ones(1, 8), torch.tensor([0.01]), n_classes
    )
    blocks = len(block_ends(400, n_classes)) - 1
    n_scales = len(OWN_OR_NONE if family == "logistic" else SCALES)
    most = math.log2(n_scales) - (blocks - 1) * math.log2(1 - SWITCH)
    assert float(bits) <= 400 * math.log2(n_classes) + most + 1e-3


@pytest.mark.parametrize("family", ["logistic", "ridge"])
def test_groups_of_one_class_cost_no_more_than_a_uniform_code_until_both_are_met(family: str) -> None:
    # Eight groups of fifty, each of one class, well apart: the first block knows one class alone.
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([0, 0, 1, 0, 1, 1, 0, 1]).repeat_interleave(50)
    x = torch.randn(1, 400, 6, generator=generator) * 0.3
    x[0, :, 0] += 4.0 * labels - 2.0
    bits = code_lengths(Family(family), x, labels[None], torch.arange(400), torch.ones(1, 6), torch.tensor([0.01]), 2)
    assert 100 < float(bits) < 250


def test_logistic_codes_are_the_probes_own_where_these_are_good() -> None:
    x, labels = clusters(n=600, noise=0.5)
    everything = decorrelate(x, torch.ones(600, dtype=torch.bool))
    rows, l2 = everything.of(x), torch.full((2,), 0.01)
    bits = code_lengths(Family("logistic"), rows, labels[None], torch.arange(600), everything.variance, l2, 3)
    ends, own = block_ends(600, 3), torch.full((2,), block_ends(600, 3)[0] * math.log2(3))
    for begin, end in itertools.pairwise(ends):
        problems = Problems(rows[:, :begin], labels[None, :begin], torch.ones(1, begin), 3)
        fitted = Family("logistic").fit(problems, (l2 * 600 / begin)[:, None], everything.variance, 1e-6)
        own += losses(fitted.logits(rows[:, begin:end]), labels[None, begin:end]).sum((1, 2)) / math.log(2)
    most = 1 - (len(ends) - 2) * math.log2(1 - SWITCH)
    assert abs(float(bits[0, 0] - own[0])) <= most
    assert float(bits[1, 0]) < float(own[1]) - 10, "nothing is to be read at the second site"


def test_one_block_is_sent_uniformly() -> None:
    x, labels = clusters(n=20)
    bits = code_lengths(Family("logistic"), x, labels[None], torch.arange(20), torch.ones(2, 12), torch.ones(2), 3)
    torch.testing.assert_close(bits, torch.full((2, 1), 20 * math.log2(3)))


def test_a_cluster_bootstrap_is_one() -> None:
    generator = torch.Generator().manual_seed(0)
    groups = torch.arange(30).repeat_interleave(10)
    each = (torch.rand(30, generator=generator) < 0.5).float().repeat_interleave(10)[None]  # alike within groups
    mean, low, high = mean_and_interval(each, groups)
    assert float(mean) == pytest.approx(float(each.mean()))
    rng = np.random.default_rng(1)
    sums = each[0].numpy().reshape(30, 10).sum(1)
    naive = [sums[rng.integers(0, 30, 30)].sum() / 300 for _ in range(4000)]
    np.testing.assert_allclose([float(low), float(high)], np.quantile(naive, [0.025, 0.975]), atol=0.03)
    _, single_low, single_high = mean_and_interval(each, torch.arange(300))
    assert float(high - low) > 2.5 * float(single_high - single_low)  # sqrt(10), were groups alike


def test_too_few_groups_have_no_interval() -> None:
    mean, low, high = mean_and_interval(torch.ones(2, 8), torch.arange(8) % 4)
    assert mean.tolist() == [1, 1]
    assert bool(low.isnan().all() and high.isnan().all())


def test_shares_without_an_exception_have_the_exact_interval_of_their_groups() -> None:
    groups = torch.arange(300) % 30
    each = torch.stack([torch.ones(300), torch.zeros(300), (torch.arange(300) < 200).float()])
    plain = mean_and_interval(each, groups)
    mean, low, high = with_exact_ends(*plain, 30)
    for i, right in enumerate((30, 0)):
        theirs = binomtest(right, 30).proportion_ci(method="exact")
        assert (float(low[i]), float(high[i])) == pytest.approx((theirs.low, theirs.high), abs=1e-6)
    assert [float(ends[2]) for ends in (mean, low, high)] == [float(ends[2]) for ends in plain]
    few = with_exact_ends(*mean_and_interval(torch.ones(1, 8), torch.arange(8) % 4), 4)
    assert bool(few[1].isnan().all())
