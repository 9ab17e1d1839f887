"""One pass over a model that keeps of each layer's attention only what a function makes of it.

All patterns of SmolLM2 over 1,024 tokens are 1.1 GB a prompt; a stripe score is one number a head. The function runs
inside the hook, so one layer's patterns exist at a time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from interp.errors import InputError
from interp.hooks import sites
from interp.hooks.partial import StopForward, embedding_device, hooked, run
from interp.hooks.sites import hook_point

PASS_BYTES = 2**28
"""Attention weights of one layer that one pass may hold: the model itself holds as much while it computes them."""
PASS_TOKENS = 4096
"""Tokens of one pass at most."""

Reduce = Callable[[Tensor, int, slice], Tensor]
"""(pattern [batch, head, query, key], its layer, which rows of the prompts these are) -> [batch, ...]."""


@torch.no_grad()
def reduce_patterns(
    model: Any, tokens: Tensor, reduce: Reduce, layers: Sequence[int], batch_size: int | None = None
) -> dict[int, Tensor]:
    """What `reduce` makes of the pattern of each of `layers`, by layer: [batch, ...], float32 on the CPU.

    Stops after the last of the layers. batch_size: prompts a pass (default: as PASS_BYTES and PASS_TOKENS allow).
    """
    plain = tokens.as_subclass(Tensor).to(embedding_device(model))
    step = batch_size or prompts_per_pass(model, plain.shape[1])
    all_rows = [slice(start, min(start + step, len(plain))) for start in range(0, len(plain), step)]
    passes = [_one_pass(model, plain[rows], reduce, rows, layers) for rows in all_rows]
    return {layer: torch.cat([found[layer] for found in passes]) for layer in layers}


def prompts_per_pass(model: Any, n_pos: int) -> int:
    """How many prompts of this length one pass may hold."""
    pattern_bytes = 4 * int(model.cfg.n_heads) * n_pos**2
    return max(1, min(PASS_TOKENS // n_pos, PASS_BYTES // pattern_bytes))


def _one_pass(model: Any, tokens: Tensor, reduce: Reduce, rows: slice, layers: Sequence[int]) -> dict[int, Tensor]:
    found: dict[int, Tensor] = {}

    def reader(layer: int) -> Callable[[Tensor], None]:
        def read(pattern: Tensor) -> None:
            _release(model, below=layer)
            found[layer] = reduce(pattern, layer, rows).float().cpu()
            if len(found) == len(set(layers)):
                raise StopForward

        return read

    with contextlib.ExitStack() as stack:
        for layer in set(layers):
            stack.enter_context(hooked(hook_point(model, sites.pattern(layer)), reader(layer)))
        stack.enter_context(contextlib.suppress(StopForward))
        run(model, tokens)
    _release(model, below=int(model.cfg.n_layers))
    missing = [layer for layer in layers if layer not in found]
    if missing:
        raise InputError(
            f"layer {missing[0]} never computes its attention pattern; load the model with eager attention"
        )
    return found


def _release(model: Any, below: int) -> None:
    """Some attention modules of the library (GPT-2's) keep their last pattern until the next run, for nobody."""
    for block in model.blocks[:below]:
        if getattr(block.attn, "_pattern", None) is not None:
            block.attn._pattern = None
