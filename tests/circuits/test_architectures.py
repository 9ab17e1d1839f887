"""Kinds of blocks beyond the shared tiny models: scored right, or refused in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import transformers

from interp.circuits import Graph, score_edges
from interp.errors import InputError
from tests.circuits.random_pairs import pairs
from tests.circuits.slopes import assert_slopes
from tests.tiny_models import N_VOCAB, _plain, boot

SHAPE = {
    "num_hidden_layers": 2,
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "vocab_size": N_VOCAB,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
    "attn_implementation": "eager",
    "pad_token_id": 2,
    "eos_token_id": 2,
}


def olmo2() -> Any:
    """Norms after attention and MLP only, and norms of queries and keys."""
    return transformers.Olmo2ForCausalLM(transformers.Olmo2Config(**SHAPE))


def qwen3() -> Any:
    """Norms of queries and keys."""
    return transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**SHAPE))


def gptj() -> Any:
    """Attention and MLP in parallel, behind one norm."""
    config = transformers.GPTJConfig(
        n_layer=2, n_embd=48, n_head=4, rotary_dim=8, vocab_size=N_VOCAB, n_positions=64, initializer_range=0.2,
        bos_token_id=1, eos_token_id=2, attn_implementation="eager",
    )  # fmt: skip
    return transformers.GPTJForCausalLM(config)


def granite() -> Any:
    """Residuals with a factor."""
    return transformers.GraniteForCausalLM(transformers.GraniteConfig(**SHAPE, residual_multiplier=0.5))


def mixtral() -> Any:
    """Experts."""
    return transformers.MixtralForCausalLM(transformers.MixtralConfig(**SHAPE, num_local_experts=4))


@pytest.mark.parametrize("make", [olmo2, qwen3, gptj])
@pytest.mark.parametrize("n_edges", [2, pytest.param(6, marks=pytest.mark.slow)])
def test_scores_are_slopes(make: Callable[[], Any], n_edges: int) -> None:
    model, task = boot(_plain(make, 0)), pairs(n=2)
    scores = score_edges(model, task, "eap", keep_examples=True)
    assert_slopes(model, task, scores, n_edges)
    edges = scores.top(n_edges=5).edges()
    assert not bool(score_edges(model, task, "exact", edges=edges).to_frame().score.isna().any())


@pytest.mark.parametrize(("make", "message"), [(granite, "do not add up"), (mixtral, "experts")])
def test_what_is_no_sum_of_heads_and_mlps_is_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Graph.of(boot(_plain(make, 0)))


def test_patterns_out_of_reach_are_refused() -> None:
    with pytest.raises(InputError, match="out of reach"):
        score_edges(boot(_plain(gptj, 0)), pairs(n=2), "eap-qk-fix")
