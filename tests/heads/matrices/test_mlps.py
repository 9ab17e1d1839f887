"""Folded MLP matrices against the model's own activations."""

from __future__ import annotations

import pytest
import torch

import interp
from interp import sites
from interp.errors import InputError
from interp.heads import weights
from interp.heads.matrices.mlps import folded_mlp, mlp_matrices
from tests.tiny_models import TINY, random_tokens, tiny

WITH_MLP = [name for name in TINY if name != "native-attention-only"]


@pytest.mark.parametrize("name", WITH_MLP)
def test_folded_matrices_give_what_neurons_read(name: str) -> None:
    """From mlp_in with the gain undone by hand: the folded matrix times x over its scale, up to what is constant."""
    model, tokens = tiny(name), random_tokens(2, 7)
    stream = sites.resid_pre if name == "gpt-neox" else sites.resid_mid
    acts = interp.capture(model, tokens, [stream(1), sites.mlp_pre(1), sites.mlp_post(1), sites.mlp_out(1)])
    x = acts[stream(1)]
    centred = x - x.mean(-1, keepdim=True) if name in ("gpt2", "gpt-neox", "native") else x
    x = x / centred.pow(2).mean(-1, keepdim=True).sqrt()
    gated = "W_gate" in mlp_matrices(model, 1)
    ours, theirs = x @ folded_mlp(model, 1, "W_gate" if gated else "W_in"), acts[sites.mlp_pre(1)]
    assert ((ours - theirs) - (ours - theirs)[:1, :1]).abs().max() < 2e-4 * theirs.abs().max()
    written, there = acts[sites.mlp_post(1)] @ folded_mlp(model, 1, "W_out"), acts[sites.mlp_out(1)]
    if name == "gemma2":
        assert torch.cosine_similarity(written, there, dim=-1).min() > 0.999
    else:
        there = there - there.mean(-1, keepdim=True) if name in ("gpt2", "gpt-neox", "native") else there
        assert ((written - there) - (written - there)[:1, :1]).abs().max() < 2e-4 * there.abs().max()


def test_layernorm_models_agree_with_transformer_lens_folding() -> None:
    from tests.tiny_models import tiny_gpt2

    folded = tiny_gpt2()
    folded.enable_compatibility_mode()
    for name in ("W_in", "W_out"):
        theirs = getattr(folded.blocks[1].mlp, name)
        torch.testing.assert_close(folded_mlp(tiny("gpt2"), 1, name), theirs, atol=1e-5, rtol=1e-4)


def test_a_wrong_gain_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "gain", lambda norm, like: torch.ones(like.shape[-2]))
    from tests.tiny_models import tiny_llama

    with pytest.raises(InputError, match="neurons of layer 0"):
        folded_mlp(tiny_llama(), 0, "W_in")


def test_a_model_without_mlps_says_so() -> None:
    with pytest.raises(InputError, match=r"layer 1 of this model has no MLP; name heads, such as '1\.0'"):
        folded_mlp(tiny("native-attention-only"), 1, "W_in")
