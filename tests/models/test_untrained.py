"""Untrained models: seeded, and without a trace in the global random state."""

from __future__ import annotations

import pytest
import torch

from interp.errors import InputError
from interp.models import identity, load_model
from interp.models.untrained import untrained_attention_only, untrained_twin
from tests.tiny_models import random_tokens, tiny

SIZES = {"n_layers": 2, "n_heads": 2, "d_model": 16, "n_ctx": 12, "d_vocab": 10}


def test_the_seed_alone_decides_the_weights() -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = untrained_attention_only(**SIZES, seed=3)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    again, other = untrained_attention_only(**SIZES, seed=3), untrained_attention_only(**SIZES, seed=4)
    weights = [model.original_model.state_dict() for model in (first, again, other)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert any(not torch.equal(weights[0][name], weights[2][name]) for name in weights[0])
    assert not any(parameter.requires_grad for parameter in first.parameters())
    assert first(torch.zeros(1, 12, dtype=torch.long)).shape == (1, 12, 10)


@pytest.mark.parametrize("name", ["gpt2", "llama", "native", "native-rotary"])
def test_an_untrained_twin_has_the_architecture_and_other_weights(name: str) -> None:
    model = tiny(name)
    before = torch.random.get_rng_state()
    twin, again, other = untrained_twin(model, seed=1), untrained_twin(model, seed=1), untrained_twin(model, seed=2)
    assert torch.equal(torch.random.get_rng_state(), before)
    own, theirs = model.original_model.state_dict(), twin.original_model.state_dict()
    assert {key: value.shape for key, value in own.items()} == {key: value.shape for key, value in theirs.items()}
    hashes = [identity(made)["weights_sha256"] for made in (model, twin, again, other)]
    assert hashes[1] == hashes[2]
    assert len({*hashes}) == 3
    assert identity(twin)["tokenizer_sha256"] == identity(model)["tokenizer_sha256"]
    assert "untrained (seed 1)" in identity(twin)["id"]
    tokens = random_tokens()
    assert twin(tokens).shape == model(tokens).shape
    assert (twin(tokens) - model(tokens)).abs().max() > 0.01


def test_a_model_built_by_hand_has_no_untrained_twin() -> None:
    with pytest.raises(InputError, match="built by hand"):
        untrained_twin(load_model("toy/induction"))
