"""Known features: worlds with the rates they state, closed-form cases of the measures, probes, the whole benchmark."""

from __future__ import annotations

import json

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

import saes
from interp import results
from interp.errors import InputError
from saes.evals.feature_recovery import absorption, detection, match, recovery
from saes.evals.known_features import KnownFeatures, World
from saes.evals.logistic_probes import best_thresholds, fit_probes, probe_ceiling
from saes.kernels.calibration import Plan
from saes.training.schedules import Schedule

SMALL = KnownFeatures(n_features=24, d_in=32, l0=3.0, n_trees=2, branching=2, depth=3, orthogonal=True)


def perfect(world: World) -> saes.Dictionary:
    """A dictionary that finds everything, where directions are at right angles."""
    n, d_in = world.directions.shape
    d = saes.Standard(d_in, n).build().requires_grad_(False)
    d.decoder.copy_(world.directions)
    d.encoder.copy_(world.directions)
    d.b_enc.fill_(-1e-3)  # so that rounding does not fire
    d.b_dec.copy_(world.bias)
    return d


def test_features_fire_as_often_as_they_should() -> None:
    world = KnownFeatures(n_features=60, d_in=16, l0=5.0, n_trees=4, correlation=0.5).build()
    assert float(world.rates.sum()) == pytest.approx(5.0, rel=1e-4)
    active = world.test_tokens(100_000).active
    found = active.float().mean(0)
    assert ((found - world.rates).abs() < 5 * (world.rates / 100_000).sqrt() + 1e-4).all()
    children = (world.parents >= 0).nonzero().flatten()
    assert len(children) == 4 * (3 + 9)
    assert not (active[:, children] & ~active[:, world.parents[children]]).any()
    steep = torch.log(world.rates[1] / world.rates[40]) / torch.log(torch.tensor(41 / 2))
    assert float(steep) == pytest.approx(0.5, rel=1e-4)


def test_features_of_a_group_fire_together() -> None:
    apart, together = (
        KnownFeatures(n_features=40, d_in=8, l0=4.0, n_trees=0, zipf=0.0, correlation=c, group_size=20).build()
        for c in (0.0, 0.6)
    )
    for world, some in ((apart, False), (together, True)):
        active = world.test_tokens(20_000).active.double()
        correlations = torch.corrcoef(active.T)
        same = world._groups[:, None] == world._groups
        inside = correlations[same & ~torch.eye(40, dtype=torch.bool)].mean()
        assert (inside > 0.15) == some
        assert correlations[~same].abs().mean() < 0.02


def test_activations_are_sums_of_directions() -> None:
    world = KnownFeatures(n_features=24, d_in=32, l0=3.0, n_trees=0, orthogonal=True, magnitude_sd=0.0).build()
    tokens = world.test_tokens(50)
    torch.testing.assert_close(tokens.x, tokens.active.float() @ world.directions + world.bias)
    torch.testing.assert_close(world.directions @ world.directions.T, torch.eye(24), atol=1e-5, rtol=0)
    with pytest.raises(InputError, match="40 directions in 8 dimensions cannot all be at right angles"):
        KnownFeatures(n_features=40, d_in=8, l0=2.0, n_trees=0, orthogonal=True)
    with pytest.raises(InputError, match="take 312 features of 100"):
        KnownFeatures(n_features=100)


def test_a_perfect_dictionary_scores_one() -> None:
    world = SMALL.build()
    numbers, detected = recovery(perfect(world), world, world.test_tokens(4000))
    assert detected.counted.sum() > 15
    for name in ("f1", "precision", "recall", "matched_cosine", "best_cosine", "recovered"):
        assert numbers[name] == pytest.approx(1.0, abs=1e-5), name
    assert numbers["absorption"] == 0.0


def test_the_order_of_latents_and_further_ones_do_not_matter() -> None:
    world = SMALL.build()
    d = perfect(world)
    more = saes.Standard(32, 40).build(torch.Generator().manual_seed(1)).requires_grad_(False)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(2))[:24]
    more.b_enc.fill_(-1e6)
    for name in ("encoder", "decoder", "b_enc"):
        getattr(more, name)[order] = getattr(d, name)
    more.b_dec.copy_(d.b_dec)
    numbers, _ = recovery(more, world, world.test_tokens(4000))
    assert numbers["f1"] == pytest.approx(1.0)
    chosen, cosine, best = match(more.decoder, world.directions)
    assert torch.equal(chosen, order)
    torch.testing.assert_close(cosine, best)


def test_half_a_dictionary_finds_half() -> None:
    """Features that no latent is left for count as never found."""
    world = SMALL.build()
    whole = perfect(world)
    half = saes.Standard(32, 12).build().requires_grad_(False)
    for name in ("encoder", "decoder", "b_enc"):
        getattr(half, name).copy_(getattr(whole, name)[:12])
    half.b_dec.copy_(whole.b_dec)
    numbers, detected = recovery(half, world, world.test_tokens(4000))
    expected = float(detected.counted[:12].sum() / detected.counted.sum())
    assert numbers["f1"] == pytest.approx(expected)
    assert numbers["matched_cosine"] == pytest.approx(0.5)
    assert numbers["recovered"] == 0.5


def test_precision_and_recall_are_what_they_are_called() -> None:
    active = torch.zeros(100, 2, dtype=torch.bool)
    active[:40] = True
    said = torch.zeros(100, 2, dtype=torch.bool)
    said[20:60, 0] = True
    found = detection(said, active)
    assert found.precision.tolist() == [0.5, 0.0]
    assert found.recall.tolist() == [0.5, 0.0]
    assert found.f1[0] == pytest.approx(f1_score(active[:, 0], said[:, 0]))
    assert found.means() == {"f1": 0.25, "precision": 0.25, "recall": 0.25}
    with pytest.raises(InputError, match="no feature fires on 10 of the test tokens"):
        detection(said[:5], active[:5]).means()


def test_absorption_is_what_children_hide() -> None:
    parents = torch.tensor([-1, 0, -1])
    active = torch.zeros(100, 3, dtype=torch.bool)
    active[:60, 0], active[:20, 1] = True, True
    said = active.clone()
    said[:15, 0] = False
    assert absorption(said, active, parents) == pytest.approx(0.75)
    assert absorption(active, active, parents) == 0.0


def test_probes_are_logistic_regressions() -> None:
    world = KnownFeatures(n_features=40, d_in=16, l0=4.0, n_trees=0).build()
    train, test = world.test_tokens(3000), world.sample(3000, torch.Generator().manual_seed(9))
    x, labels = (train.x - train.x.mean(0)) / train.x.std(0), train.active[:, :3]
    weight, bias = fit_probes(x, labels)
    for i in range(3):
        theirs = LogisticRegression(C=1 / (2 * 1e-5 * len(x)), max_iter=2000).fit(x, labels[:, i])
        ours = x @ weight[:, i] + bias[i]
        expected = torch.from_numpy(theirs.decision_function(x)).float()
        assert float(torch.corrcoef(torch.stack([ours, expected]))[0, 1]) > 0.999
    limits = best_thresholds(ours[:, None], labels[:, 2:3])
    scores = [f1_score(labels[:, 2], ours >= value) for value in ours.quantile(torch.linspace(0.01, 0.99, 60))]
    assert f1_score(labels[:, 2], ours >= limits[0]) >= max(scores)
    few = probe_ceiling(train, test, torch.arange(3))
    assert 0.3 < few.means()["f1"] < 1


def test_probes_reach_one_where_a_line_can_tell() -> None:
    world = KnownFeatures(
        n_features=24, d_in=32, l0=3.0, n_trees=2, branching=2, orthogonal=True, magnitude_sd=0.0
    ).build()
    found = probe_ceiling(
        world.sample(3000, torch.Generator().manual_seed(5)), world.test_tokens(3000), torch.arange(8)
    )
    assert found.means()["f1"] > 0.99


def test_the_stream_goes_on_where_it_was() -> None:
    stream = SMALL.build().stream(4)
    first = [stream.next_batch(20)["activations"] for _ in range(3)]
    state = json.loads(json.dumps(stream.state()[1]))
    expected = stream.next_batch(20)["activations"]
    again = SMALL.build().stream(4)
    again.restore({}, state)
    assert torch.equal(again.next_batch(20)["activations"], expected)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(stream.sample(20)["activations"], stream.held_out(20)["activations"])


def test_the_benchmark(tmp_path) -> None:
    configs = [saes.TopK(32, 24, k=3), saes.TopK(32, 8, k=3)]
    options = {"n_tokens": 40_000, "batch_size": 200, "plan": Plan(), "schedule": Schedule(lr=3e-3)}
    found = saes.evals.synthetic(configs, SMALL, seeds=(0, 1), n_test=3000, n_probed=24, **options)
    measure = found.values["measures"].axes[1].labels
    table = {
        name: dict(zip(measure, row)) for name, row in zip(("large", "small"), found.values["measures"].data.tolist())
    }
    assert table["large"]["f1"] > 0.5
    assert table["large"]["f1"] > 1.5 * table["small"]["f1"]
    assert table["large"]["matched_cosine"] > 0.55
    assert 2 < table["large"]["l0"] <= 3
    assert found.values["detection"].axes[0].labels[-1] == "logistic probe"
    probe = found.sel(dictionary="logistic probe").values["detection"].data
    assert probe[0] > table["large"]["f1"]
    assert (found.values["low"].data <= found.values["high"].data).all()
    assert (found.values["spread"].data[:, 0] > 0).all()
    found.save(tmp_path / "r")
    assert results.load(tmp_path / "r").equal(found)
    for i in range(3):
        found.figure(i)
    with pytest.raises(InputError, match="seeds is empty"):
        saes.evals.synthetic(configs, SMALL, seeds=())


def test_a_dictionary_of_the_same_seed_knows_no_feature_at_its_start() -> None:
    world = KnownFeatures(64, 96, l0=4.0, n_trees=0, seed=3).build()
    directions = saes.TopK(96, 64, k=4).build(torch.Generator().manual_seed(3)).W_dec.detach()
    cosines = torch.nn.functional.normalize(directions, dim=1) @ world.directions.T
    assert float(cosines.abs().max()) < 0.6
