"""Untrained models: seeded, and without a trace in the global random state."""

from __future__ import annotations

import torch

from interp.models.untrained import untrained_attention_only

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
