"""What a model's forward pass really reaches: some of a bridge's hook points never fire, some writes go nowhere.

A GPT-NeoX bridge lists `hook_rot_q` and a Llama bridge `hook_pos_embed`, and neither ever passes an activation: an
intervention there would silently do nothing. One forward pass over two tokens per model tells.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor


def embedding_device(model: Any) -> torch.device:
    """The device that tokens go to."""
    return model.embed.weight.device if hasattr(model, "embed") else torch.device(model.cfg.device)


@contextlib.contextmanager
def unhooked(points: Iterable[Any]) -> Iterator[None]:
    """Put everybody's hooks aside: a probe must see the model itself, and nobody's hooks may see the probe."""
    aside = [(point, dict(point._forward_hooks)) for point in set(points) if point._forward_hooks]
    for point, _ in aside:
        point._forward_hooks.clear()
    try:
        yield
    finally:
        for point, hooks in aside:
            # The same dictionaries: the hooks' handles find their hook in them when they are taken off.
            point._forward_hooks.update(hooks)


@torch.no_grad()
def reached(model: Any, points: Mapping[str, Any], names: Iterable[str]) -> frozenset[str]:
    """Which of the named hook points pass an activation in a forward pass."""
    fired: set[str] = set()

    def noting(name: str) -> Callable[[Any, Any], None]:
        return lambda value, hook: fired.add(name)

    _probe(model, points, {name: noting(name) for name in names})
    return frozenset(fired)


@torch.no_grad()
def mid_stream_is_live(model: Any, points: Mapping[str, Any], layer: int) -> bool:
    """Whether changing `resid_mid` in place changes the residual stream itself and not only what the MLP reads."""
    seen: dict[str, Tensor] = {}

    def shift(value: Tensor, hook: Any) -> None:
        seen["before"] = value.clone()
        value.add_(1.0 + value.abs().mean())
        seen["mid"] = value.clone()

    def keep(name: str) -> Callable[[Tensor, Any], None]:
        return lambda value, hook: seen.update({name: value.clone()})

    block = f"blocks.{layer}"
    watched = {f"{block}.hook_resid_mid": shift, f"{block}.hook_mlp_out": keep("mlp")}
    _probe(model, points, watched | {f"{block}.hook_resid_post": keep("post")})
    if seen.keys() != {"before", "mid", "mlp", "post"}:
        return False
    change = seen["post"] - seen["mlp"]
    return bool((change - seen["mid"]).abs().sum() < (change - seen["before"]).abs().sum())


def _probe(model: Any, points: Mapping[str, Any], watched: Mapping[str, Callable[[Any, Any], None]]) -> None:
    """Run the model on two tokens with only these hooks."""
    with unhooked(points.values()):
        handles = [(points[name], points[name].add_hook(function)) for name, function in watched.items()]
        try:
            model(torch.zeros((1, 2), dtype=torch.long, device=embedding_device(model)))
        finally:
            for point, handle in handles:
                handle.hook.remove()
                point.fwd_hooks.remove(handle)
