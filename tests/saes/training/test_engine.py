"""Whole steps: against Adam on autograd's gradients, learning something, dead latents, and going on from a state."""

from __future__ import annotations

import pytest
import torch

from interp.errors import InputError
from saes.architectures import BatchTopK, DictionaryConfig, JumpReLU, Matryoshka, Standard, TopK
from saes.kernels.calibration import Plan
from saes.training.engine import Engine, EngineSettings
from saes.training.gradients.reference import reference_loss
from saes.training.optimiser import Adam

D_IN, D_SAE, TOKENS = 20, 64, 128
KINDS: list[DictionaryConfig] = [
    Standard(D_IN, D_SAE, l1_coefficient=2.0),
    TopK(D_IN, D_SAE, k=4),
    BatchTopK(D_IN, D_SAE, k=4),
    JumpReLU(D_IN, D_SAE, target_l0=4.0, coefficient=20.0, bandwidth=0.05),
    Matryoshka(D_IN, D_SAE, k=4, prefixes=(16, 32)),
]


def batches(n: int, seed: int = 0) -> list[torch.Tensor]:
    """Sparse sums of 30 directions."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.nn.functional.normalize(torch.randn(30, D_IN, generator=generator), dim=1)
    made = []
    for _ in range(n):
        active = torch.rand(TOKENS, 30, generator=generator) < 0.1
        made.append((active * (1 + torch.rand(TOKENS, 30, generator=generator))) @ features * 2)
    return made


@pytest.mark.parametrize("config", KINDS, ids=lambda config: config.architecture)
def test_steps_equal_adam_on_autograds_gradients(config: DictionaryConfig) -> None:
    ours = config.build(torch.Generator().manual_seed(1))
    theirs = config.build(torch.Generator().manual_seed(1))
    engine = Engine(ours, EngineSettings(adam=Adam(clip=1.0, threshold_lr=1.0)))
    adam = torch.optim.Adam(theirs.parameters(), lr=1e-3)
    for x in batches(20):
        engine.step(x, 1e-3)
        adam.zero_grad()
        reference_loss(theirs, x).backward()
        with torch.no_grad():
            gradient = theirs.decoder.grad
            assert gradient is not None
            gradient -= (gradient * theirs.decoder).sum(1, keepdim=True) * theirs.decoder
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        adam.step()
        with torch.no_grad():
            theirs.decoder /= theirs.decoder.norm(dim=1, keepdim=True)
            if isinstance(config, JumpReLU):
                theirs.get_parameter("threshold").clamp_min_(0)
    for name, p in ours.named_parameters():
        torch.testing.assert_close(p, theirs.get_parameter(name).detach(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("config", KINDS, ids=lambda config: config.architecture)
def test_a_dictionary_learns(config: DictionaryConfig, precision: str) -> None:
    engine = Engine(config.build(torch.Generator().manual_seed(1)), plan=Plan(encoder=precision))
    stats = [engine.step(x, 3e-3) for x in batches(200)]
    unexplained = [float(s.squared_error / s.variance) for s in stats]
    assert sum(unexplained[-20:]) < 0.4 * sum(unexplained[:20])
    assert stats[-1].l0 < 12
    torch.testing.assert_close(engine.dictionary.decoder.norm(dim=1), torch.ones(D_SAE))
    x = batches(1)[0]
    with torch.no_grad():
        out = engine.dictionary.fold()(x)
    # The inference form does nearly as well as the training form did.
    assert float((out.reconstruction - x).square().sum() / (x - x.mean(0)).square().sum()) < 0.6


@pytest.mark.parametrize("config", KINDS, ids=lambda config: config.architecture)
def test_going_on_from_a_state_gives_the_same_bits(config: DictionaryConfig) -> None:
    settings = EngineSettings(dead_after=500, dead_every=3)
    data = batches(30)
    whole = Engine(config.build(torch.Generator().manual_seed(1)), settings, Plan(encoder="bfloat16"))
    half = Engine(config.build(torch.Generator().manual_seed(1)), settings, Plan(encoder="bfloat16"))
    for x in data:
        whole.step(x, 1e-3)
    for x in data[:14]:
        half.step(x, 1e-3)
    tensors, plain = half.state()
    later = Engine(config.build(torch.Generator().manual_seed(9)), settings)
    later.restore({name: value.clone() for name, value in tensors.items()}, plain)
    for x in data[14:]:
        later.step(x, 1e-3)
    expected, counts = whole.state()
    got, same = later.state()
    assert counts == same
    assert all(torch.equal(got[name], value) for name, value in expected.items())


def test_dead_latents_come_back_with_auxk() -> None:
    """Half of the dictionary starts with so low a bias that it hardly ever fires; AuxK raises it."""

    def alive(aux_coefficient: float) -> int:
        d = TopK(D_IN, D_SAE, k=4, aux_coefficient=aux_coefficient).build(torch.Generator().manual_seed(1))
        d.b_enc.data[32:] = -3.5
        engine = Engine(d, EngineSettings(dead_after=20 * TOKENS, dead_every=5))
        for x in batches(300):
            engine.step(x, 3e-3)
        engine.list_dead()
        return D_SAE - len(engine.dead)

    assert alive(0.0) < 40
    assert alive(1.0) > 56


def test_who_fired_is_counted() -> None:
    engine = Engine(TopK(D_IN, D_SAE, k=4).build(torch.Generator().manual_seed(1)))
    x = batches(1)[0]
    active = (engine.dictionary.encode(x) > 0).sum(0)
    engine.step(x, 1e-3)
    assert torch.equal(engine.fired, active)
    assert torch.equal(engine.last_fired > 0, active > 0)


def test_batchtopk_follows_the_smallest_activation() -> None:
    engine = Engine(BatchTopK(D_IN, D_SAE, k=4).build(torch.Generator().manual_seed(1)))
    for x in batches(300):
        engine.step(x, 1e-3)
    x = torch.cat(batches(8))
    assert float((engine.dictionary.encode(x) > 0).sum() / len(x)) == pytest.approx(4, abs=0.8)


def test_a_folded_dictionary_is_not_trained_further_by_mistake() -> None:
    with pytest.raises(InputError, match="decoder_norm 'any' is for folded dictionaries"):
        Engine(TopK(4, 8, k=2, decoder_norm="any").build())
