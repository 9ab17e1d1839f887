"""The matrices of every head as they act on the residual stream, with the gains of the norms folded in.

A norm is x -> gain * centre(x) / scale(x) + bias (RMSNorm: without centring and bias; Gemma: gain = 1 + w). The gain
and the centring are linear and go into the matrix that reads the normalised stream; where the model normalises what
attention writes as well, that norm's gain goes into W_O. What is left out is one positive factor a token, the scales,
and the biases: every score made of these matrices is a ratio or a ranking that does not change with such a factor. Row
vectors: a head reads x W_Q, x W_K, x W_V and writes z W_O. In models whose every reader centres (LayerNorm), the mean
direction of what is written is invisible, and taken out of W_O. Elhage et al. 2021, "A Mathematical Framework for
Transformer Circuits"; the folding is TransformerLens's `fold_ln`, without changing the model.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import InputError
from interp.hooks import sites
from interp.hooks.capturing import capture
from interp.hooks.reach import embedding_device

Reading = Float[Tensor, "head d_model d_head"]

TOLERANCE = 1e-2
"""How far the folded matrices may miss the model's own activations, relative to the largest of them."""


@dataclass(frozen=True, eq=False)
class HeadWeights:
    """W_Q, W_K, W_V [head, d_model, d_head] and W_O [head, d_head, d_model] of one layer, float32, norms folded.

    Under grouped-query attention W_K and W_V are repeated: one for every query head.
    """

    W_Q: Reading
    W_K: Reading
    W_V: Reading
    W_O: Float[Tensor, "head d_head d_model"]


@torch.no_grad()
def folded_heads(model: Any, layer: int) -> HeadWeights:
    """The folded matrices of a layer's heads, on the model's device; the model is left as it is.

    They are held against the model's own activations once a model. Raises InputError for a model whose queries, values
    or outputs are not these matrices times its normalised stream.
    """
    if model not in _TRIED:
        _TRIED[model] = _disagreement(model)
    if _TRIED[model] is not None:
        raise InputError(f"the heads of this model cannot be read from its weights: {_TRIED[model]}")
    return _folded(model, layer)


def _folded(model: Any, layer: int) -> HeadWeights:
    block = model.blocks[layer]
    n_heads = int(model.cfg.n_heads)
    W_Q, W_K, W_V = (
        fold_norm(block.ln1, _each_head(getattr(block.attn, name), n_heads)) for name in ("W_Q", "W_K", "W_V")
    )
    W_O = fold_written(model, getattr(block, "ln1_post", None), _each_head(block.attn.W_O, n_heads))
    return HeadWeights(W_Q, W_K, W_V, W_O)


def folded_unembedding(model: Any) -> Float[Tensor, "d_model d_vocab"]:
    """W_U with the final norm's gain folded in, float32; centred over the vocabulary.

    A constant added to all logits changes no probability, so the mean over the vocabulary is taken out.
    """
    weight = fold_norm(model.ln_final, model.W_U.detach().float())
    return weight - weight.mean(-1, keepdim=True)


def fold_norm(norm: Any, weight: Float[Tensor, "*head d_model d_out"]) -> Float[Tensor, "*head d_model d_out"]:
    """The matrix that does to x / scale what `weight` does to the norm of x, biases left out."""
    folded = gain(norm, weight)[:, None] * weight
    return folded - folded.mean(-2, keepdim=True) if _centres(norm) else folded


def fold_written(
    model: Any, after: Any, weight: Float[Tensor, "*head d_in d_model"]
) -> Float[Tensor, "*head d_in d_model"]:
    """A matrix that writes to the stream, with the gain of the norm `after` it; without one (None), centred where every
    reader centres."""
    if after is not None:
        return _folded_out(after, weight)
    return weight - weight.mean(-1, keepdim=True) if _centres(getattr(model, "ln_final", None)) else weight


def gain(norm: Any, like: Tensor) -> Float[Tensor, " d_model"]:
    """What a norm multiplies with after dividing; ones where it does not normalise."""
    weight = getattr(norm, "weight", None) if hasattr(norm, "uses_rms_norm") else None
    if not isinstance(weight, Tensor):
        return torch.ones(like.shape[-2], device=like.device)
    return (1.0 + weight.detach().float()) if norm.uses_weight_offset else weight.detach().float()


def normalises_queries(model: Any) -> bool:
    """Whether queries and keys pass a norm of their own, so that their scores are no bilinear form of the stream."""
    return any(name in block.attn._modules for block in model.blocks for name in ("q_norm", "k_norm"))


def _folded_out(norm: Any, weight: Float[Tensor, "*head d_in d_model"]) -> Float[Tensor, "*head d_in d_model"]:
    centred = weight - weight.mean(-1, keepdim=True) if _centres(norm) else weight
    return centred * gain(norm, weight.mT)


def _each_head(weight: Tensor, n_heads: int) -> Tensor:
    """float32, one matrix a query head."""
    return weight.detach().float().repeat_interleave(n_heads // weight.shape[0], dim=0)


def _centres(norm: Any) -> bool:
    return hasattr(norm, "uses_rms_norm") and not norm.uses_rms_norm


_TRIED: weakref.WeakKeyDictionary[Any, str | None] = weakref.WeakKeyDictionary()


def _disagreement(model: Any) -> str | None:
    """What the folded matrices get wrong on four tokens, None when they are right.

    Differences between tokens, since biases are the same at all of them.
    """
    layers = range(int(model.cfg.n_layers))
    kinds = (sites.resid_pre, sites.q, sites.k, sites.v, sites.z)
    tokens = torch.arange(1, 5, device=embedding_device(model))[None] * (int(model.cfg.d_vocab) // 6) + 1
    try:
        acts = capture(model, tokens, [kind(layer) for layer in layers for kind in (*kinds, sites.attn_out)])
    except InputError as error:
        return str(error)
    for layer in layers:
        weights = _folded(model, layer)
        x, q, k, v, z = (acts[kind(layer)][0].float() for kind in kinds)
        groups = weights.W_Q.shape[0] // k.shape[1]
        normed = divided(model.blocks[layer].ln1, x)
        for name, seen, matrix in (("queries", q, weights.W_Q), ("keys", k, weights.W_K), ("values", v, weights.W_V)):
            ours = torch.einsum("pd,hde->phe", normed, matrix)
            theirs = seen if name == "queries" else seen.repeat_interleave(groups, dim=1)
            if not alike(ours, theirs):
                return f"the {name} of layer {layer} are not its W_{name[0].upper()} times the normalised stream"
        out = torch.einsum("phe,hed->pd", z, weights.W_O)
        if not _writes_alike(model, layer, out, acts[sites.attn_out(layer)][0].float()):
            return f"what attention writes in layer {layer} is not W_O times the mixed values"
    return None


def divided(norm: Any, x: Float[Tensor, "*at d_model"]) -> Float[Tensor, "*at d_model"]:
    """x over the norm's scale: what the folded matrices read."""
    if not hasattr(norm, "uses_rms_norm"):
        return x
    return x / (x.var(-1, correction=0) if _centres(norm) else x.pow(2).mean(-1)).sqrt()[..., None]


def alike(ours: Tensor, theirs: Tensor) -> bool:
    """Equal but for what all tokens have in common."""
    ours, theirs = ours - ours[:1], theirs - theirs[:1]
    return bool((ours - theirs).abs().max() <= TOLERANCE * theirs.abs().max().clamp(min=1e-6))


def _writes_alike(model: Any, layer: int, ours: Tensor, theirs: Tensor) -> bool:
    if hasattr(model.blocks[layer], "ln1_post"):
        # That norm divides by a scale of its own, so only the direction is ours.
        return bool((torch.cosine_similarity(ours, theirs, dim=-1) > 1 - TOLERANCE).all())
    if _centres(getattr(model, "ln_final", None)):
        theirs = theirs - theirs.mean(-1, keepdim=True)
    return alike(ours, theirs)
