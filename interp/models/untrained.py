"""Small models with random weights, to be trained from scratch."""

from __future__ import annotations

import torch
from transformer_lens.config import TransformerBridgeConfig
from transformer_lens.model_bridge import TransformerBridge


def untrained_attention_only(
    *, n_layers: int, n_heads: int, d_model: int, n_ctx: int, d_vocab: int, seed: int
) -> TransformerBridge:
    """An attention-only decoder with LayerNorm and learned positions, as in Elhage et al. 2021; no tokenizer, float32.

    Parameters ask for no gradients; whoever trains it turns them on. The same seed gives the same weights, and the
    global random state is left alone.
    """
    config = TransformerBridgeConfig(
        n_layers=n_layers,
        n_heads=n_heads,
        d_model=d_model,
        d_head=d_model // n_heads,
        n_ctx=n_ctx,
        d_vocab=d_vocab,
        attn_only=True,
        act_fn="relu",
        normalization_type="LN",
        seed=seed,
        device="cpu",
    )
    with torch.random.fork_rng(devices=[]):
        model = TransformerBridge.boot_native(config, model_name=f"attention-only-{n_layers}-layers")
    return model.eval().requires_grad_(False)
