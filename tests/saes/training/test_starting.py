"""How dictionaries begin, and how dead ones begin anew."""

from __future__ import annotations

import pytest
import torch

import saes
from saes.activations.streams import TensorStream
from saes.kernels.calibration import Plan
from saes.training.engine import Engine, EngineSettings
from saes.training.resampling import SHARE_OF_LENGTH, resample
from saes.training.schedules import Schedule
from saes.training.settings import FitSettings
from saes.training.starting import make_trainees, name_all
from tests.saes.training.test_engine import D_IN, D_SAE, TOKENS, batches


def trainees(settings: FitSettings, *configs: saes.TopK | saes.JumpReLU) -> list:
    stream = TensorStream({"x": torch.cat(batches(20))})
    return make_trainees(name_all(configs, stream.widths), stream, settings, torch.device("cpu"))


def test_the_first_thresholds_let_through_as_many_as_are_wanted() -> None:
    settings = FitSettings(n_tokens=10_000, plan=Plan(max_density=0.2))
    told, taken = trainees(
        settings,
        saes.JumpReLU(D_IN, D_SAE, target_l0=5.0, initial_threshold=0.7),
        saes.JumpReLU(D_IN, D_SAE, target_l0=4.0),
    )
    assert torch.equal(told.engine.dictionary.threshold, torch.full((D_SAE,), 0.7))
    x = taken.normalisation.apply(torch.cat(batches(20)))
    l0 = (taken.engine.dictionary.encode(x) > 0).sum(1).float().mean()
    assert float(l0) == pytest.approx(4, rel=0.1)


@pytest.mark.slow
def test_the_l0_of_jumprelu_comes_to_its_target() -> None:
    """From three times as many as are wanted, and from a sixth."""
    x = torch.cat(batches(100))
    for first in (0.5, 2.2):
        config = saes.JumpReLU(D_IN, D_SAE, target_l0=6.0, initial_threshold=first)
        run = saes.fit(
            config,
            x,
            n_tokens=128 * 400,
            batch_size=128,
            plan=Plan(max_density=0.2),
            log_every=5,
            schedule=Schedule(lr=3e-3),
        )
        begun, ended = run.log[0]["l0"], run.last()["held_out_l0"]
        assert abs(begun - 6) > 1.0
        assert ended == pytest.approx(6, abs=0.7)


def test_dictionaries_of_one_size_begin_alike() -> None:
    settings = FitSettings(n_tokens=10_000, plan=Plan(max_density=0.2))
    first, second = trainees(settings, saes.TopK(D_IN, D_SAE, k=4), saes.JumpReLU(D_IN, D_SAE))
    assert torch.equal(first.engine.dictionary.decoder, second.engine.dictionary.decoder)
    (other,) = trainees(FitSettings(n_tokens=10_000, seed=1, plan=Plan(max_density=0.2)), saes.TopK(D_IN, D_SAE, k=4))
    assert not torch.equal(first.engine.dictionary.decoder, other.engine.dictionary.decoder)


@pytest.mark.parametrize("kind", [saes.TopK, saes.Standard, saes.JumpReLU])
def test_dead_latents_begin_anew_where_the_loss_is_large(kind: type) -> None:
    d = kind(D_IN, D_SAE).build(torch.Generator().manual_seed(1))
    d.b_enc.data[40:] = -100
    engine = Engine(d, EngineSettings(dead_after=2 * TOKENS, dead_every=1000))
    for x in batches(6):
        engine.step(x, 1e-3)
    x = batches(1, seed=9)[0]
    loss = (x - d(x).reconstruction).square().sum(1)
    before = d.decoder.clone()
    n = resample(engine, x, seed=0)
    assert n >= 24
    assert not len(engine.dead)
    changed = (d.decoder != before).any(1).nonzero().flatten()
    assert set(range(40, D_SAE)) <= set(changed.tolist())
    torch.testing.assert_close(d.decoder.norm(dim=1), torch.ones(D_SAE))
    living = [j for j in range(D_SAE) if j not in set(changed.tolist())]
    lengths = d.encoder.norm(dim=1)
    share = 1.0 if kind is saes.TopK else SHARE_OF_LENGTH
    expected = torch.full((n,), share * float(lengths[living].mean()))
    torch.testing.assert_close(lengths[changed], expected, rtol=1e-4, atol=1e-5)
    assert (d.b_enc[changed] == 0).all()
    for name in ("encoder", "decoder", "b_enc"):
        for moment in ("exp_avg", "exp_avg_sq"):
            assert not engine.optimiser.tensors()[f"{name}.{moment}"][changed].any()
    # Each new direction is that of a token, and the tokens are those with a larger loss than most.
    cosines = torch.nn.functional.normalize(x - d.b_dec, dim=1) @ d.decoder[changed].T
    chosen = cosines.argmax(0)
    torch.testing.assert_close(cosines.amax(0), torch.ones(n), rtol=1e-4, atol=1e-4)
    assert len(set(chosen.tolist())) == n
    assert loss[chosen].mean() > 1.1 * loss.mean()
    again = (d.encode(torch.cat(batches(10))) > 0).any(0)
    assert again[changed].float().mean() > 0.5


def test_resampling_brings_latents_back_and_survives_an_interruption() -> None:
    def run(n: int, state: tuple | None = None) -> Engine:
        config = saes.TopK(D_IN, D_SAE, k=4, aux_k=0)
        (trainee,) = trainees(
            FitSettings(
                n_tokens=10_000, plan=Plan(max_density=0.2), engine=EngineSettings(dead_after=300, dead_every=5)
            ),
            config,
        )
        trainee.engine.dictionary.b_enc.data[40:] = -100
        if state is not None:
            trainee.restore({name: value.clone() for name, value in state[0].items()}, state[1])
        start = 0 if state is None else 7
        for step, x in enumerate(batches(20)[start:n], start):
            trainee.step(x, Schedule(lr=1e-3, resample_every=10, resample_share=1.0), step, 20)
        run.trainee = trainee  # type: ignore[attr-defined]
        return trainee.engine

    whole = run(20)
    assert int((whole.fired[40:] > 0).sum()) > 12
    run(7)
    resumed = run(20, run.trainee.state())  # type: ignore[attr-defined]
    assert torch.equal(whole.dictionary.decoder, resumed.dictionary.decoder)
    assert torch.equal(whole.dictionary.encoder, resumed.dictionary.encoder)


def test_when_it_happens_and_when_a_latent_is_dead() -> None:
    schedule = Schedule(resample_every=10, resample_share=0.5)
    assert [step for step in range(100) if schedule.resamples_at(step, 100)] == [9, 19, 29, 39, 49]
    assert not any(Schedule().resamples_at(step, 100) for step in range(100))
    assert FitSettings(n_tokens=10**9).dead_after == 1_000_000
    assert FitSettings(n_tokens=1_000_000, batch_size=1024).dead_after == 50_000
    assert FitSettings(n_tokens=20_000, batch_size=1024).dead_after == 10_240
    assert FitSettings(engine=EngineSettings(dead_after=7)).dead_after == 7


def test_a_warm_start_goes_on_from_what_was_learned(tmp_path) -> None:
    x = torch.cat(batches(60))
    options = {"n_tokens": 128 * 40, "batch_size": 128, "log_every": 1}
    first = saes.fit(saes.TopK(D_IN, D_SAE, k=4), x, **options)
    stream = TensorStream({"x": x})
    cold, warm = (
        make_trainees(
            name_all([saes.TopK(D_IN, D_SAE, k=4)], stream.widths),
            stream,
            FitSettings(n_tokens=10_000, plan=Plan(max_density=0.2)),
            torch.device("cpu"),
            started,
        )[0]
        for started in (None, saes.load(first.dictionary.save(tmp_path / "first")))
    )
    kept = warm.finished()
    torch.testing.assert_close(
        kept(x[:50]).reconstruction, first.dictionary(x[:50]).reconstruction, rtol=1e-3, atol=1e-3
    )
    assert (kept(x).reconstruction - x).square().sum() < 0.7 * (cold.finished()(x).reconstruction - x).square().sum()
