"""Which cells share a forward pass.

A run for a cell only has to cover the positions from the first one it changes. Cells with different first positions can
still share a pass that begins at the earliest, which computes more tokens but starts fewer, larger matrix products.
`pack` finds the division of least cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

DEFAULT_BUDGET = 2 * 2**30
"""Bytes that a pass may take unless the caller says otherwise."""

# What starting one pass costs besides its tokens, in tokens: Python, hooks and small matrix products. Measured with
# SmolLM2-135M on two CPU cores, where 16, 48, 120, 250 and 500 gave sweeps of 4.6, 4.1, 3.8, 4.1 and 4.6 s.
OVERHEAD_TOKENS = 120


def pack(starts: Sequence[int], end: int, rows: int, max_tokens: int) -> list[list[int]]:
    """Divide cells among forward passes.

    starts: the first position each cell's run must cover; end: the position all of them run to (exclusive); rows:
    prompts a cell; max_tokens: most tokens a pass. Returns lists of indices into `starts`. Least total of tokens plus
    `OVERHEAD_TOKENS` a pass, by dynamic programming over the cells sorted by start (a best division is contiguous).
    """
    order = sorted(range(len(starts)), key=lambda i: starts[i])
    best = [0.0] + [float("inf")] * len(order)
    cut = [0] * (len(order) + 1)
    for last in range(1, len(order) + 1):
        for first in range(last - 1, -1, -1):
            tokens = (last - first) * rows * (end - starts[order[first]])
            if tokens > max_tokens and last - first > 1:
                break
            cost = best[first] + tokens + OVERHEAD_TOKENS
            if cost < best[last]:
                best[last], cut[last] = cost, first
    passes = []
    last = len(order)
    while last:
        passes.append(order[cut[last] : last])
        last = cut[last]
    return passes[::-1]


def tokens_per_pass(model: Any, width: int, memory_budget: int) -> int:
    """How many tokens one forward pass over prompts of `width` tokens may hold, at least one prompt.

    About ten activations of a block's widest part are alive at once.
    """
    cfg = model.cfg
    widest = max(int(cfg.d_mlp or 0), 4 * int(cfg.d_model), int(cfg.n_heads) * width)
    return max(width, min(4096, memory_budget // (10 * widest * 4)))
