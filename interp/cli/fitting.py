"""Lengths that fit: the usual ones where the model has room for them, and the longest possible where it has not."""

from __future__ import annotations

from typing import Any

from interp.tasks.wording import ordinary_tokens


def context_of(model: Any) -> int | None:
    """How many tokens the model takes, None where it states no limit."""
    n_ctx = getattr(model.cfg, "n_ctx", None)
    return None if n_ctx is None else int(n_ctx)


def fitting_length(model: Any, wanted: int, *, n_repeats: int, bos: bool = False, distinct: int = 0) -> int:
    """`wanted` random tokens, or as many as fit `n_repeats` times into the context after a BOS.

    distinct: how many times that many different tokens are needed (0: tokens may repeat).
    """
    n_ctx = context_of(model)
    limits = [wanted] if n_ctx is None else [wanted, (n_ctx - int(bos)) // max(n_repeats, 1)]
    if distinct:
        limits.append(len(ordinary_tokens(model)) // distinct)
    return max(1, min(limits))


def fitting_places(model: Any) -> tuple[int, int, int]:
    """An early and a late place in a text and how many tokens from each on: 50, 500 and 50, or what fits the context.

    One token is left free, so that a prompt that repeats its first half, whose length is even, has room as well.
    """
    n_ctx = context_of(model)
    if n_ctx is None or n_ctx > 550:
        return 50, 500, 50
    window = max(1, n_ctx // 11)
    late = max(2, n_ctx - window - 1)
    return max(1, late // 10), late, window
