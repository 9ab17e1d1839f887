"""Heads by name: "18.6" is head 6 of layer 18 (as `a18.6` in a circuit)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import InputError, nearest
from interp.hooks import sites

Head = tuple[int, int]
HeadLike = str | Sequence[int]


def head_name(head: Head) -> str:
    """(18, 6) -> "18.6"."""
    return f"{head[0]}.{head[1]}"


def all_heads(model: Any) -> list[Head]:
    """Every head of the model, layer by layer."""
    return [(layer, head) for layer in range(int(model.cfg.n_layers)) for head in range(int(model.cfg.n_heads))]


def as_heads(model: Any, given: Iterable[HeadLike] | HeadLike) -> list[Head]:
    """(layer, head) pairs from "18.6", "a18.6", (18, 6), or a list of these, in order and without repeats.

    Raises InputError for what is no head of this model.
    """
    single = isinstance(given, str) or (isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], int))
    items: list[Any] = [given] if single else list(given)
    heads = list(dict.fromkeys(_as_head(item) for item in items))
    if not heads:
        raise InputError("no heads were given; name at least one, for example '0.1'")
    n_layers = int(model.cfg.n_layers)
    for layer, head in heads:
        if layer >= n_layers:
            raise InputError(f"layer {layer} does not exist: the layers are 0 to {n_layers - 1}")
        sites.check(model, sites.pattern(layer), [head])
    return heads


def _as_head(item: HeadLike) -> Head:
    parts = item.removeprefix("a").split(".") if isinstance(item, str) else [str(part) for part in item]
    if len(parts) != 2 or not all(part.isdigit() for part in parts):
        raise InputError(f"{item!r} names no head; write '18.6' or (18, 6) for head 6 of layer 18")
    return int(parts[0]), int(parts[1])


def as_layers(model: Any, layers: Iterable[int] | int | None) -> list[int]:
    """The layers asked for, in order; None is all of them. Raises InputError for one the model does not have."""
    n_layers = int(model.cfg.n_layers)
    chosen = list(range(n_layers)) if layers is None else [layers] if isinstance(layers, int) else list(layers)
    wrong = [layer for layer in chosen if layer not in range(n_layers)]
    if wrong or not chosen:
        name = wrong[0] if wrong else "none"
        raise InputError(f"there is no layer {name}{nearest(name, range(n_layers))}")
    return chosen


def largest_heads(scores: Float[Tensor, "layer head"], n: int) -> list[Head]:
    """The n heads with the largest score, largest first; NaN never."""
    flat = scores.flatten().nan_to_num(nan=float("-inf"))
    best = torch.topk(flat, min(n, flat.numel())).indices.tolist()
    return [divmod(index, scores.shape[1]) for index in best]
