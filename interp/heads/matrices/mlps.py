"""The matrices of an MLP as they act on the residual stream, with the gains of the norms folded in.

The same folding as that of heads (`interp.heads.weights`): a gain before a matrix goes into it, one positive factor a
token and the biases are left out. Row vectors: neurons are x W_in (gated MLPs: act(x W_gate) * (x W_in)), and
activations times W_out are written.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import InputError
from interp.heads.weights import alike, divided, fold_norm, fold_written
from interp.hooks import sites
from interp.hooks.partial import hooked, run
from interp.hooks.reach import embedding_device, unhooked
from interp.hooks.sites import Site, hook_point, hook_points, reached_hooks

READING, WRITING = ("W_in", "W_gate"), ("W_out",)


def mlp_matrices(model: Any, layer: int) -> tuple[str, ...]:
    """Which matrices the MLP of a layer has. Raises InputError where there is none."""
    if sites.mlp_out(layer).hook not in reached_hooks(model):
        raise InputError(f"layer {layer} of this model has no MLP; name heads, such as '{layer}.0'")
    mlp = model.blocks[layer].mlp
    names = tuple(name for name in (*READING, *WRITING) if isinstance(getattr(mlp, name, None), Tensor))
    if "W_out" not in names or "W_in" not in names:
        raise InputError(f"the MLP of layer {layer} has no input and output matrix to read (experts?); name heads")
    return names


@torch.no_grad()
def folded_mlp(model: Any, layer: int, name: str) -> Float[Tensor, "d_in d_out"]:
    """W_in or W_gate [d_model, d_mlp], or W_out [d_mlp, d_model], float32, norms folded, on the model's device.

    They are held against the model's own activations once a model. Raises InputError for an MLP that these matrices do
    not describe.
    """
    mlp_matrices(model, layer)
    if model not in _TRIED:
        _TRIED[model] = _disagreement(model)
    if _TRIED[model] is not None:
        raise InputError(f"the MLPs of this model cannot be read from its weights: {_TRIED[model]}")
    return _folded(model, layer, name)


def fold_mlp(model: Any, layer: int, name: str) -> Callable[[Tensor], Tensor]:
    """The folding itself, for random matrices that stand in for the model's own."""
    if name in WRITING:
        after = getattr(model.blocks[layer], "ln2_post", None)
        return lambda weight: fold_written(model, after, weight)
    return lambda weight: fold_norm(norm_before_mlp(model, layer), weight)


def norm_before_mlp(model: Any, layer: int) -> Any:
    """The norm that the MLP reads: in some parallel blocks it is that of the attention."""
    own = getattr(model.blocks[layer], "ln2", None)
    return model.blocks[layer].ln1 if own is None and mlp_stream(model, layer).kind == "resid_pre" else own


def mlp_stream(model: Any, layer: int) -> Site:
    """The stream that the MLP reads through its norm: before the block where attention and MLP run in parallel."""
    sequential = sites.resid_mid(layer).hook in reached_hooks(model)
    return sites.resid_mid(layer) if sequential else sites.resid_pre(layer)


def _folded(model: Any, layer: int, name: str) -> Float[Tensor, "d_in d_out"]:
    return fold_mlp(model, layer, name)(getattr(model.blocks[layer].mlp, name).detach().float())


_TRIED: weakref.WeakKeyDictionary[Any, str | None] = weakref.WeakKeyDictionary()


def _disagreement(model: Any) -> str | None:
    """What the folded matrices get wrong on four tokens, None when they are right."""
    layers = [layer for layer in range(int(model.cfg.n_layers)) if sites.mlp_out(layer).hook in reached_hooks(model)]
    try:
        seen = _seen(model, layers)
    except InputError as error:
        return str(error)
    for layer in layers:
        x = divided(norm_before_mlp(model, layer), seen[mlp_stream(model, layer).hook][0].float())
        names = mlp_matrices(model, layer)
        pre = "W_gate" if "W_gate" in names else "W_in"
        readings = {pre: sites.mlp_pre(layer).hook, "W_in": f"blocks.{layer}.mlp.in.hook_out"}
        for name, hook in readings.items():
            if hook in seen and not alike(x @ _folded(model, layer, name), seen[hook][0].float()):
                return f"what the neurons of layer {layer} read is not {name} times the normalised stream"
        out = seen[sites.mlp_post(layer).hook][0].float() @ _folded(model, layer, "W_out")
        if not _writes_alike(model, layer, out, seen[sites.mlp_out(layer).hook][0].float()):
            return f"what the MLP of layer {layer} writes is not W_out times its activations"
    return None


def _writes_alike(model: Any, layer: int, ours: Tensor, theirs: Tensor) -> bool:
    if hasattr(model.blocks[layer], "ln2_post"):
        # That norm divides by a scale of its own, so only the direction is ours.
        return bool((torch.cosine_similarity(ours, theirs, dim=-1) > 0.99).all())
    if fold_mlp(model, layer, "W_out")(torch.ones_like(theirs)).abs().sum() == 0:  # every reader centres
        theirs = theirs - theirs.mean(-1, keepdim=True)
    return alike(ours, theirs)


def _seen(model: Any, layers: list[int]) -> dict[str, Tensor]:
    """What passes the MLPs on four tokens, by hook name."""
    points, seen = hook_points(model), {}
    wanted = [site(layer) for layer in layers for site in (sites.mlp_pre, sites.mlp_post, sites.mlp_out)]
    wanted += [mlp_stream(model, layer) for layer in layers]
    known = {site.hook: hook_point(model, site) for site in wanted}
    ins = (f"blocks.{layer}.mlp.in.hook_out" for layer in layers)
    known |= {name: points[name] for name in ins if name in points}

    def keep(name: str) -> Callable[[Tensor], None]:
        return lambda value: seen.update({name: value.clone()})

    n_tokens = min(4, int(model.cfg.n_ctx or 4))
    tokens = torch.arange(1, n_tokens + 1, device=embedding_device(model))[None] * (int(model.cfg.d_vocab) // 6) + 1
    with unhooked(points.values()), contextlib.ExitStack() as stack:
        for name, point in known.items():
            stack.enter_context(hooked(point, keep(name)))
        run(model, tokens % int(model.cfg.d_vocab))
    return seen
