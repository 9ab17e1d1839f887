"""Models with random weights: small ones to be trained from scratch, and two random twins of any model.

`untrained_twin` has the weights that training would start from, whose activations may differ in size from the trained
model's; `random_twin` keeps each matrix's mean and spread and the norms' gains, so that what reads the activations is
given the same scale. Both are controls: what is found in them, training has not put there.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from transformer_lens.config import TransformerBridgeConfig
from transformer_lens.model_bridge import TransformerBridge

from interp.errors import InputError
from interp.models.identifying import identity, remember_origin
from interp.models.load import load_model


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


def untrained_twin(model: TransformerBridge, seed: int = 0) -> TransformerBridge:
    """The same architecture and tokenizer with the weights that training would start from: a control.

    Weights are drawn as the model's own library draws them (Hugging Face's initialisation, or the native one) in
    float32 on the model's device; the same seed gives the same weights, and the global random state is left alone.
    What a representation holds or shares in the twin comes from the architecture and the text, not from training.
    Raises InputError for a hand-built model, which has no such start, and for a class that cannot be built afresh.
    """
    origin = identity(model)
    if str(origin["id"]).startswith("toy/"):
        raise InputError(f"{origin['id']} is built by hand and was never trained, so it has no untrained twin")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        twin = _fresh(model, seed)
    remember_origin(twin, f"{origin['id']} untrained (seed {seed})", None)
    return twin


def _fresh(model: TransformerBridge, seed: int) -> TransformerBridge:
    plain = model.original_model
    if getattr(plain, "config", None) is None:
        config = copy.deepcopy(model.cfg)
        config.seed, config.init_weights, config.device = seed, True, "cpu"
        made = TransformerBridge.boot_native(config)
        return load_model(made, device=next(plain.parameters()).device)
    try:
        fresh = type(plain)(copy.deepcopy(plain.config)).float()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"a {type(plain).__name__} cannot be built with fresh weights: {error}") from error
    return load_model(fresh, device=next(plain.parameters()).device, tokenizer=model.tokenizer)


def random_twin(model: Any, seed: int) -> Any:
    """A copy of the model whose matrices are redrawn from normal distributions (Zhang & Bowman 2018, section 3).

    Every matrix (embeddings included) gets the mean and the standard deviation it had, so that activations keep about
    their size in any architecture; gains and biases of norms and layers, which are vectors, stay. The copy takes as
    much memory as the model. Hand-built models have one too.
    """
    twin = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    done: set[int] = set()
    with torch.no_grad():
        for _, weight in sorted(twin.original_model.named_parameters(), key=lambda item: item[0]):
            if weight.ndim < 2 or weight.data_ptr() in done:  # tied weights are one
                continue
            done.add(weight.data_ptr())
            mean, std = weight.float().mean(), weight.float().std()
            drawn = torch.randn(weight.shape, generator=generator)
            weight.copy_((drawn.to(weight.device) * std + mean).to(weight.dtype))
    return twin.eval()
