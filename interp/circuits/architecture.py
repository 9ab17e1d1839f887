"""What a model's blocks are made of, as far as its graph depends on it; models that have no such graph are refused."""

from __future__ import annotations

from typing import Any

from interp.errors import InputError
from interp.hooks import sites
from interp.hooks.sites import n_heads_at, reached_hooks


def architecture(model: Any) -> dict[str, Any]:
    """n_layers, n_heads, n_key_value_heads, has_mlp and parallel of a model, the fields of a `Graph`.

    Raises InputError for models whose residual stream is not the sum of an embedding, attention heads and MLPs.
    """
    cfg = model.cfg
    if not hasattr(model, "blocks"):
        raise InputError("this model has no single stack of decoder blocks; circuits need a decoder-only model")
    n_layers = int(cfg.n_layers)
    reached = reached_hooks(model)
    for layer in range(n_layers):
        for site in (sites.q(layer), sites.k(layer), sites.v(layer), sites.z(layer), sites.attn_out(layer)):
            if site.hook not in reached:
                raise InputError(
                    f"layer {layer} of this model has no site {site.kind!r}: its heads cannot be told apart, "
                    "so it has no graph of heads"
                )
    with_mlp = [sites.mlp_out(layer).hook in reached for layer in range(n_layers)]
    if any(with_mlp) != all(with_mlp):
        raise InputError("only some blocks of this model have an MLP; circuits need blocks that are all alike")
    _refuse_experts(model, n_layers)
    return {
        "n_layers": n_layers,
        "n_heads": int(cfg.n_heads),
        "n_key_value_heads": n_heads_at(model, sites.k(0)),
        "has_mlp": all(with_mlp),
        "parallel": all(with_mlp) and _is_parallel(model),
    }


def _is_parallel(model: Any) -> bool:
    """Whether attention and MLP of a block read the same stream."""
    parallel = bool(getattr(model.cfg, "parallel_attn_mlp", False))
    return parallel or sites.resid_mid(0).hook not in reached_hooks(model)


def _refuse_experts(model: Any, n_layers: int) -> None:
    for layer in range(n_layers):
        block = model.blocks[layer]
        name = type(getattr(block, "mlp", None)).__name__
        if "moe" in name.lower() or int(getattr(model.cfg, "num_experts", None) or 1) > 1:
            raise InputError("this model routes tokens to experts, and a switch of expert has no gradient; refused")
        if hasattr(block, "cross_attn"):
            raise InputError("this model attends across two sequences; circuits need a decoder-only model")
