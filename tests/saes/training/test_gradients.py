"""Every architecture's hand-written gradients against autograd through the obvious dense loss."""

from __future__ import annotations

import itertools

import pytest
import torch

from saes.architectures import BatchTopK, Dictionary, DictionaryConfig, JumpReLU, Matryoshka, Standard, TopK
from saes.kernels.calibration import Plan
from saes.training.engine import Engine, EngineSettings
from saes.training.gradients.dead import add_aux_k
from saes.training.gradients.reference import reference_aux_loss, reference_loss

D_IN, D_SAE, TOKENS = 24, 96, 64
SPARSE, DENSE = Plan(max_density=1.0), Plan(max_density=0.0)


def made(config: DictionaryConfig) -> Dictionary:
    """A dictionary in the middle of its training: nothing is zero, and no direction is special."""
    generator = torch.Generator().manual_seed(1)
    d = config.build(generator)
    with torch.no_grad():
        d.encoder += 0.1 * torch.randn(d.encoder.shape, generator=generator)
        d.b_enc += 0.1 * torch.randn(d.b_enc.shape, generator=generator)
        d.b_dec += 0.3 * torch.randn(d.b_dec.shape, generator=generator)
        if config.decoder_norm == "free":
            d.decoder *= 0.5 + torch.rand(D_SAE, 1, generator=generator)
        if isinstance(config, JumpReLU):
            d.threshold.add_(0.5 * torch.rand(D_SAE, generator=generator))
    return d


def batch() -> torch.Tensor:
    return torch.randn(TOKENS, D_IN, generator=torch.Generator().manual_seed(2))


def by_autograd(d: Dictionary, x: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    d.requires_grad_(True)
    loss = reference_loss(d, x)
    loss.backward()
    found = {name: p.grad.clone() for name, p in d.named_parameters() if p.grad is not None}
    d.requires_grad_(False)
    d.zero_grad()
    if d.config.decoder_norm == "unit":
        radial = (found["decoder"] * d.decoder).sum(1, keepdim=True)
        found["decoder"] -= radial * d.decoder
    return loss.detach(), found


def all_configs() -> list[DictionaryConfig]:
    kinds: list[DictionaryConfig] = []
    for norm, bias in itertools.product(("unit", "free"), (True, False)):
        common = {"decoder_norm": norm, "apply_b_dec_to_input": bias}
        kinds += [
            Standard(D_IN, D_SAE, l1_coefficient=0.7, **common),
            TopK(D_IN, D_SAE, k=6, **common),
            BatchTopK(D_IN, D_SAE, k=6, **common),
            Matryoshka(D_IN, D_SAE, k=6, prefixes=(7, 30, 60), **common),
            *(
                JumpReLU(D_IN, D_SAE, sparsity_loss=loss, bandwidth=0.4, coefficient=0.9, target_l0=9.0, **common)
                for loss in ("step", "tanh", "quadratic")
            ),
        ]
    return kinds


def name_of(config: DictionaryConfig) -> str:
    loss = getattr(config, "sparsity_loss", "")
    return f"{config.architecture}{loss}-{config.decoder_norm}-{config.apply_b_dec_to_input}"


@pytest.mark.parametrize("plan", [SPARSE, DENSE], ids=["sparse", "dense"])
@pytest.mark.parametrize("config", all_configs(), ids=name_of)
def test_gradients_equal_autograds(config: DictionaryConfig, plan: Plan) -> None:
    d, x = made(config), batch()
    loss, expected = by_autograd(d, x)
    _, found, _ = Engine(d, plan=plan).pass_through(x)
    torch.testing.assert_close(found.squared_error + found.penalty if config.architecture != "matryoshka_batchtopk"
                               else loss, loss)  # fmt: skip
    assert set(expected) == {name for name, value in vars(found.gradients).items() if value is not None}
    for name, gradient in expected.items():
        got = getattr(found.gradients, name)
        assert (got - gradient).norm() <= 1e-5 * gradient.norm() + 1e-7, name
        assert gradient.norm() > 0, name


@pytest.mark.parametrize("n_dead", [5, 40])
def test_the_loss_of_dead_latents_reaches_only_them(n_dead: int) -> None:
    d, x, dead = made(TopK(D_IN, D_SAE, k=6)), batch(), torch.arange(0, 2 * n_dead, 2)
    engine = Engine(d)
    encoded, found, _ = engine.pass_through(x)
    before = {name: value.clone() for name, value in vars(found.gradients).items() if value is not None}
    loss = add_aux_k(d, encoded, found, dead, 12, 0.5)
    d.requires_grad_(True)
    expected = reference_aux_loss(d, x, found.residual, dead, 12, 0.5)
    expected.backward()
    torch.testing.assert_close(loss, expected.detach())
    for name, p in d.named_parameters():
        assert p.grad is not None
        wanted = p.grad
        if name == "decoder":
            wanted = wanted - (wanted * p.detach()).sum(1, keepdim=True) * p.detach()
        torch.testing.assert_close(getattr(found.gradients, name) - before[name], wanted, rtol=1e-4, atol=1e-6)


def test_the_pre_activation_loss_equals_autograds() -> None:
    d = made(JumpReLU(D_IN, D_SAE, sparsity_loss="step", dead_coefficient=0.3))
    engine = Engine(d, EngineSettings(dead_after=0))
    without = engine.pass_through(batch())[1].gradients
    engine.dead = torch.arange(10, 30)
    _, found, loss = engine.pass_through(batch())
    d.requires_grad_(True)
    h = d.pre_activations(batch())
    expected = 0.3 * ((d.threshold - h).relu() * d.decoder.detach().norm(dim=1))[:, 10:30].sum(1).mean()
    expected.backward()
    torch.testing.assert_close(loss, expected.detach())
    for name in ("encoder", "b_enc", "b_dec", "threshold"):
        wanted = d.get_parameter(name).grad
        got = getattr(found.gradients, name) - getattr(without, name)
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("config", [config for config in all_configs() if config.apply_b_dec_to_input], ids=name_of)
def test_bfloat16_products_change_gradients_by_their_rounding_only(config: DictionaryConfig) -> None:
    d, x = made(config), batch()
    exact = Engine(d, plan=Plan(max_density=1.0)).pass_through(x)[1]
    rounded = Engine(d, plan=Plan(encoder="bfloat16", max_density=1.0)).pass_through(x)[1]
    for name, gradient in vars(exact.gradients).items():
        if gradient is not None and name != "threshold":
            assert torch.cosine_similarity(gradient.flatten(), getattr(rounded.gradients, name).flatten(), 0) > 0.98


@pytest.mark.parametrize("config", [kind(D_IN, D_SAE, k=5, decoder_norm="free") for kind in (TopK, BatchTopK)])
def test_latents_compete_in_the_precision_of_h(config: DictionaryConfig) -> None:
    d = made(config).requires_grad_(False)
    d.decoder.mul_(torch.linspace(0.5, 2, D_SAE)[:, None])
    h = d.pre_activations(batch())
    exact, coarse = d.competing(h), d.competing(h.bfloat16())
    assert coarse.dtype == torch.bfloat16
    torch.testing.assert_close(coarse.float(), exact, rtol=2**-6, atol=0)
