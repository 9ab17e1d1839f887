"""Synthetic training data that only memory of the sequence helps with: random tokens in which one stretch comes again.

Where the stretch begins, how long it is and how many tokens pass before it comes again are drawn anew for every
sequence. At a fixed distance a single layer could look that many tokens back; here it has to know what it looks for.
"""

from __future__ import annotations

import torch
from torch import Tensor


def repeating_sequences(n: int, n_ctx: int, d_vocab: int, shortest: int, longest: int, seed: int) -> Tensor:
    """Tokens [n, n_ctx]; in each row a stretch of `shortest` to `longest` tokens returns, again and again, after gaps.

    The gap between copies is the same throughout a row: 0 to `longest` tokens, fewer where the stretch would not come
    back even once. Gaps are filled with fresh random tokens. The same seed gives the same sequences.
    """
    generator = torch.Generator().manual_seed(seed)
    fresh = torch.randint(d_vocab, (n, n_ctx), generator=generator)
    length = torch.randint(shortest, longest + 1, (n, 1), generator=generator)
    start_share, gap_share = torch.rand(2, n, 1, generator=generator)
    room = n_ctx - 2 * length
    start = (start_share * (room // 2 + 1)).long()
    gap = (gap_share * (room - start + 1).clamp(max=longest + 1)).long()
    position = torch.arange(n_ctx)[None]
    since = position - start
    copy = since.div(length + gap, rounding_mode="floor")
    within = since - copy * (length + gap)
    source = torch.where((copy >= 1) & (within < length), start + within, position)
    return fresh.gather(1, source)


def repeated_halves(n: int, n_ctx: int, d_vocab: int, seed: int) -> Tensor:
    """Tokens [n, n_ctx] whose second half is the first again: what a model in training is examined on."""
    generator = torch.Generator().manual_seed(seed)
    half = torch.randint(d_vocab, (n, n_ctx // 2), generator=generator)
    return torch.cat([half, half], dim=1)
