"""Folded head matrices against the model's own activations, and against TransformerLens's folding."""

from __future__ import annotations

import pytest
import torch

import interp
from interp import sites
from interp.errors import InputError
from interp.heads import weights
from interp.heads.rotating import checked_offset, rotation
from interp.heads.weights import folded_heads, folded_unembedding
from tests.tiny_models import TINY, random_tokens, tiny

ROTARY = ("llama", "gpt-neox", "gemma2", "native-rotary")


@pytest.mark.parametrize("name", TINY)
def test_folded_matrices_give_the_models_queries_keys_and_values(name: str) -> None:
    """With scales from plain algebra: x / scale times the folded matrix is the activation, up to what is constant."""
    model, tokens = tiny(name), random_tokens(2, 7)
    centred = {"LayerNorm": True}.get(type(model.blocks[0].ln1.original_component).__name__, name == "native")
    for layer in range(model.cfg.n_layers):
        acts = interp.capture(model, tokens, [kind(layer) for kind in (sites.resid_pre, sites.q, sites.k, sites.v)])
        x = acts[sites.resid_pre(layer)]
        if name != "native-attention-only":
            spread = x - x.mean(-1, keepdim=True) if centred else x
            x = x / spread.pow(2).mean(-1, keepdim=True).sqrt()
        found = folded_heads(model, layer)
        for kind, matrix in (("q", found.W_Q), ("k", found.W_K), ("v", found.W_V)):
            theirs = acts[getattr(sites, kind)(layer)]
            theirs = theirs.repeat_interleave(4 // theirs.shape[2], dim=2)
            ours = torch.einsum("bpd,hde->bphe", x, matrix)
            difference = (ours - theirs) - (ours - theirs)[:1, :1]
            assert difference.abs().max() < 2e-4 * theirs.abs().max(), (layer, kind)


def test_layernorm_models_agree_with_transformer_lens_folding() -> None:
    from tests.tiny_models import tiny_gpt2

    folded = tiny_gpt2()
    folded.enable_compatibility_mode()
    for layer in range(3):
        ours, attention = folded_heads(tiny("gpt2"), layer), folded.blocks[layer].attn
        for name in ("W_Q", "W_K", "W_V", "W_O"):
            torch.testing.assert_close(getattr(ours, name), getattr(attention, name), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(folded_unembedding(tiny("gpt2")), folded.W_U, atol=1e-5, rtol=1e-4)


def test_the_model_is_left_as_it_is() -> None:
    model = tiny("gemma2")
    before = {name: value.clone() for name, value in model.original_model.state_dict().items()}
    folded_heads(model, 1)
    assert all(torch.equal(value, before[name]) for name, value in model.original_model.state_dict().items())


def test_a_wrong_gain_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "gain", lambda norm, like: torch.ones(like.shape[-2]))
    from tests.tiny_models import tiny_llama

    with pytest.raises(InputError, match="queries of layer 0"):
        folded_heads(tiny_llama(), 0)


@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_rotation_is_what_the_model_does_to_its_queries(name: str) -> None:
    model, tokens = tiny(name), random_tokens(1, 6)
    acts = interp.capture(model, tokens, [sites.q(1), sites.q_rot(1)])
    for offset in (0, 1, 5):
        ours = acts[sites.q(1)][0, offset] @ rotation(model, 1, offset)
        torch.testing.assert_close(ours, acts[sites.q_rot(1)][0, offset], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["gpt-neox", "native-rotary"])
def test_rotated_products_are_the_models_attention(name: str) -> None:
    """Models that do not show their rotated queries, one of them rotated in part: up to the pattern."""
    model, tokens = tiny(name), random_tokens(1, 6)
    acts = interp.capture(model, tokens, [sites.q(1), sites.k(1), sites.pattern(1)])
    q, k = acts[sites.q(1)][0], acts[sites.k(1)][0]
    k = k.repeat_interleave(4 // k.shape[1], dim=1)
    for query in (1, 5):
        turned = [
            torch.einsum("he,ef,hf->h", q[query], rotation(model, 1, query - key), k[key]) for key in range(query + 1)
        ]
        ours = (torch.stack(turned, dim=1) / 12**0.5).softmax(-1)
        torch.testing.assert_close(ours, acts[sites.pattern(1)][0, :, query, : query + 1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", TINY)
def test_offsets_are_stated_where_they_matter_and_refused_elsewhere(name: str) -> None:
    if name in ROTARY:
        assert checked_offset(tiny(name), 3) == 3
        with pytest.raises(InputError, match="after it"):
            checked_offset(tiny(name), -1)
    else:
        assert checked_offset(tiny(name), 0) is None
        with pytest.raises(InputError, match="rotary positions only"):
            checked_offset(tiny(name), 3)
