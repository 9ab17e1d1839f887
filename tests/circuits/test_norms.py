"""Closed-form norms against autograd, and blocks against the model's own activations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

from interp.circuits.blocks import blocks_of
from interp.circuits.norms import Norm, norm_of
from interp.errors import InputError
from interp.hooks import sites
from interp.hooks.capturing import capture
from tests.tiny_models import N_VOCAB, TINY, _plain, boot, random_tokens, tiny


@pytest.mark.parametrize("centres", [True, False])
@pytest.mark.parametrize("divides", [True, False])
def test_jacobian_is_that_of_autograd(centres: bool, divides: bool) -> None:
    torch.manual_seed(0)
    x, u = torch.randn(2, 5, 16, dtype=torch.float64), torch.randn(2, 5, 16, dtype=torch.float64)
    gain, bias = torch.randn(16, dtype=torch.float64), torch.randn(16, dtype=torch.float64)
    norm = Norm(divides, centres and divides, gain, bias, eps=0.1)
    x.requires_grad_(True)
    (expected,) = torch.autograd.grad((norm(x) * u).sum(), x)
    assert torch.allclose(norm.pull_back(u, x.detach()), expected, atol=1e-12)
    if divides and centres:
        own = torch.nn.functional.layer_norm(x, (16,), gain, bias, 0.1)
        assert torch.allclose(norm(x), own, atol=1e-12)


def test_norms_are_those_of_the_modules() -> None:
    for name in TINY:
        model = tiny(name)
        x = torch.randn(2, 3, 48)
        for module in (model.blocks[1].ln1, getattr(model, "ln_final", None)):
            if module is not None:
                assert torch.allclose(norm_of(module)(x), module(x), atol=1e-5), name


@pytest.mark.parametrize("name", TINY)
def test_blocks_read_what_the_model_reads(name: str) -> None:
    model = tiny(name)
    tokens = random_tokens()
    for block in blocks_of(model):
        wanted = [sites.resid_pre(block.layer), sites.q(block.layer), sites.k(block.layer)]
        acts = capture(model, tokens, wanted)
        assert torch.allclose(block.read("q", acts[wanted[0]]), acts[wanted[1]], atol=1e-4)
        assert torch.allclose(block.read("k", acts[wanted[0]], [1]), acts[wanted[2]][..., 1:2, :], atol=1e-4)


def tiny_olmo2() -> Any:
    """Norms after attention and MLP only, and norms of queries and keys."""
    config = transformers.Olmo2Config(
        num_hidden_layers=2, hidden_size=48, intermediate_size=96, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=N_VOCAB, max_position_embeddings=64, initializer_range=0.3, pad_token_id=2, eos_token_id=2,
        attn_implementation="eager",
    )  # fmt: skip
    return boot(_plain(lambda: transformers.Olmo2ForCausalLM(config), 0))


def test_a_model_with_norms_after_its_parts_has_blocks() -> None:
    assert len(blocks_of(tiny_olmo2())) == 2


def test_a_model_with_scaled_residuals_is_refused() -> None:
    config = transformers.GraniteConfig(
        num_hidden_layers=2, hidden_size=48, intermediate_size=96, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=N_VOCAB, max_position_embeddings=64, initializer_range=0.3, residual_multiplier=0.5,
        attn_implementation="eager",
    )  # fmt: skip
    model = boot(_plain(lambda: transformers.GraniteForCausalLM(config), 0))
    with pytest.raises(InputError, match="do not add up"):
        blocks_of(model)
