"""Closed-form norms against autograd, and blocks against the model's own activations."""

from __future__ import annotations

import pytest
import torch

from interp.circuits.blocks import blocks_of
from interp.circuits.norms import Norm, norm_of
from interp.hooks import sites
from interp.hooks.capturing import capture
from tests.tiny_models import TINY, random_tokens, tiny


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
