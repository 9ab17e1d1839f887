"""The query-key neuron view: an attention score as a sum over the dimensions of a head.

score(query, key) = scale × Σ_i q_i k_i, with q and k as they enter the product, so after any rotary embedding (Vig
2019, "A Multiscale Visualization of Attention in the Transformer Model", section 4).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import InputError
from interp.hooks import sites
from interp.hooks.capturing import Activations
from interp.hooks.head_names import Head, head_name
from interp.hooks.sites import Site, reached_hooks
from interp.results import Axis, Values


def neuron_sites(model: Any, layer: int) -> list[Site]:
    """Queries and keys as they enter the product: after the rotary embedding where the model has one."""
    rotary = sites.q_rot(layer).hook in reached_hooks(model)
    return [sites.q_rot(layer), sites.k_rot(layer)] if rotary else [sites.q(layer), sites.k(layer)]


def neuron_values(model: Any, acts: Activations, heads: list[Head]) -> tuple[dict[str, Values], float | None]:
    """queries, keys [head, position, dim] of some heads of one prompt, and the scale of their product.

    Heads that share keys each get a copy. Nothing (and no scale) where the products are not this model's scores:
    attention with a position bias, a soft cap, or a rotary embedding out of reach.
    """
    scale = _scale(model)
    pairs = [_query_key(model, acts, head) for head in heads]
    for (layer, head), (q, k) in zip(heads, pairs):
        if not _is_the_score(q, k, scale, acts[sites.pattern(layer)][0, head]):
            return {}, None
    n_pos, d_head = pairs[0][0].shape
    axes = (
        Axis("head", tuple(head_name(head) for head in heads)),
        Axis("position", tuple(range(n_pos))),
        Axis("dim", tuple(range(d_head))),
    )
    queries = Values(torch.stack([q for q, _ in pairs]), axes, "", "as they enter the attention score")
    keys = Values(torch.stack([k for _, k in pairs]), axes, "", "as they enter the attention score")
    return {"queries": queries, "keys": keys}, scale


def products(values: Mapping[str, Values], settings: Mapping[str, Any], head: str, query: int) -> Values:
    """q_i k_i × scale of one query with every key, [key, dim]; see `Look.neuron_view`."""
    if "queries" not in values:
        raise InputError("this model's attention scores are no plain products of queries and keys, so none were kept")
    q, k = values["queries"].sel(head=head), values["keys"].sel(head=head)
    n_pos = len(q.axis("position"))
    if not -n_pos <= query < n_pos:
        raise InputError(f"query {query} is outside of the prompt's {n_pos} tokens")
    place = query % n_pos
    data = settings["score_scale"] * q.data[place] * k.data[: place + 1]
    axes = (Axis("key", tuple(range(place + 1))), k.axis("dim"))
    return Values(data, axes, "score", f"head {head}, query {place}: the sum over dim is the attention score")


def _query_key(model: Any, acts: Activations, head: Head) -> tuple[Tensor, Tensor]:
    layer, index = head
    q, k = (acts[site][0].float() for site in neuron_sites(model, layer))
    per_group = q.shape[1] // k.shape[1]
    return q[:, index], k[:, index // per_group]


def _scale(model: Any) -> float:
    """What the model multiplies the product with; 1/√d_head unless its attention says otherwise."""
    attention = getattr(model.blocks[0].attn, "original_component", None)
    scaling = getattr(attention, "scaling", None)
    return float(scaling) if isinstance(scaling, float) else float(model.cfg.d_head) ** -0.5


def _is_the_score(
    q: Float[Tensor, "pos d_head"], k: Float[Tensor, "pos d_head"], scale: float, pattern: Float[Tensor, "query key"]
) -> bool:
    """Whether the softmax over earlier keys of the products is the pattern."""
    scores = scale * q @ k.T
    future = torch.ones_like(scores, dtype=torch.bool).triu(1)
    ours = scores.masked_fill(future, float("-inf")).softmax(-1)
    tolerance = 1e-3 if pattern.dtype == torch.float32 else 5e-2
    return bool((ours - pattern.float()).abs().max() < tolerance)
