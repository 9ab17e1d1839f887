"""The affine part of a norm with its scale held, against the norm's algebra and its defining equation."""

from __future__ import annotations

import pytest
import torch

from interp.lens.directions import affine_part, has_output_transform, unembedding_direction
from tests.tiny_models import TINY, tiny


@pytest.mark.parametrize("name", TINY)
def test_slope_and_constant_reproduce_the_norm_where_its_scale_was_taken(name: str) -> None:
    model = tiny(name)
    generator = torch.Generator().manual_seed(0)
    x, direction = (torch.randn(3, 48, generator=generator) for _ in range(2))
    slope, constant = affine_part(model.ln_final, x, direction)
    expected = (model.ln_final(x[None])[0] * direction).sum(-1)
    torch.testing.assert_close((slope * x).sum(-1) + constant, expected, atol=1e-4, rtol=1e-4)


def test_the_scale_is_held_and_not_differentiated() -> None:
    model = tiny("gpt2")
    x, direction = torch.randn(2, 48), torch.randn(2, 48)
    slope, constant = affine_part(model.ln_final, x, direction)
    norm = model.ln_final.original_component
    centred = x - x.mean(-1, keepdim=True)
    scale = (centred.pow(2).mean(-1, keepdim=True) + norm.eps).sqrt()
    expected = direction * norm.weight / scale
    torch.testing.assert_close(slope, expected - expected.mean(-1, keepdim=True), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(constant, direction @ norm.bias, atol=1e-5, rtol=1e-4)


def test_a_linear_module_gives_its_weights_back() -> None:
    module = torch.nn.Linear(4, 3)
    direction = torch.randn(2, 3)
    slope, constant = affine_part(module, torch.randn(2, 4), direction)
    torch.testing.assert_close(slope, direction @ module.weight)
    torch.testing.assert_close(constant, direction @ module.bias)


def test_nothing_stays_hooked_and_nothing_warns() -> None:
    model = tiny("llama")
    affine_part(model.ln_final, torch.randn(1, 48), torch.randn(1, 48))
    assert not model.ln_final.hook_scale.fwd_hooks


def test_sets_are_averaged_and_padding_is_not_read() -> None:
    model = tiny("gpt2")
    answers, distractors = torch.tensor([[5, 6], [7, -1]]), torch.tensor([[8], [9]])
    direction, bias = unembedding_direction(model, answers, distractors)
    columns, biases = model.W_U.T, model.b_U
    torch.testing.assert_close(direction[0], (columns[5] + columns[6]) / 2 - columns[8])
    torch.testing.assert_close(direction[1], columns[7] - columns[9])
    torch.testing.assert_close(bias[0], (biases[5] + biases[6]) / 2 - biases[8])
    alone, _ = unembedding_direction(model, answers[1:], None)
    torch.testing.assert_close(alone[0], columns[7] - columns.mean(0))


def test_output_transforms_are_seen() -> None:
    assert {name: has_output_transform(tiny(name)) for name in ("gpt2", "llama", "gemma2", "native")} == {
        "gpt2": False,
        "llama": False,
        "gemma2": True,
        "native": False,
    }
