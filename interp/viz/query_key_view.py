"""The query-key neuron view (Vig 2019, "A Multiscale Visualization of Attention in the Transformer Model", section 4).

For one query token of one head it shows, for every key, the elementwise products q_i k_i whose sum is the attention
score before the softmax. CircuitsVis has no such view; this one is drawn by the page's own script.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from interp.errors import InputError
from interp.viz.circuitsvis_views import MAX_TOKENS
from interp.viz.text import decimals_for, rounded, visible
from interp.viz.views import View


def query_key(
    q: Float[Tensor, "head pos d_head"],
    k: Float[Tensor, "group pos d_head"],
    tokens: Sequence[str],
    *,
    head_names: Sequence[str] | None = None,
    groups: Sequence[int] | None = None,
    scale: float | int | None = None,
    query: int = -1,
    causal: bool = True,
    title: str = "",
    max_tokens: int = MAX_TOKENS,
) -> View:
    """The query-key neuron view of some heads over one text; head and query token are chosen in the page.

    q and k as they enter the product, so after any rotary embedding. groups: for each head the row of `k` it reads; by
    default heads share keys in order, as in grouped-query attention. scale: default 1/sqrt(d_head). query: first shown.
    Raises InputError for shapes that do not fit. Texts longer than `max_tokens` are cut, and the view says so.
    """
    n_heads, n_tokens, d_head = q.shape
    if k.shape[1:] != q.shape[1:] or len(tokens) != n_tokens:
        raise InputError(
            f"queries {tuple(q.shape)}, keys {tuple(k.shape)} and {len(tokens)} tokens do not fit: give "
            f"[head, pos, d_head], [group, pos, d_head] and one token per position"
        )
    if groups is None:
        if n_heads % k.shape[0]:
            raise InputError(f"{n_heads} heads cannot share {k.shape[0]} groups of keys evenly: give `groups`")
        groups = [head // (n_heads // k.shape[0]) for head in range(n_heads)]
    names = head_names if head_names is not None else [f"H{i}" for i in range(n_heads)]
    n_shown = min(n_tokens, max_tokens)
    notes = (f"Only the first {n_shown} of {n_tokens} tokens are shown.",) if n_shown < n_tokens else ()
    q, k = q[:, :n_shown].detach().cpu().double(), k[:, :n_shown].detach().cpu().double()
    data: dict[str, Any] = {
        "tokens": [visible(token) for token in tokens[:n_shown]],
        "heads": [{"name": str(name), "group": int(group)} for name, group in zip(names, groups, strict=True)],
        "q": rounded(q, decimals_for(q, 4)),
        "k": rounded(k, decimals_for(k, 4)),
        "scale": d_head**-0.5 if scale is None else float(scale),
        "causal": causal,
        "query": min(query % n_tokens, n_shown - 1),
    }
    return View(
        "query_key",
        data,
        height=150 + 20 * n_shown + 24 * (sum(map(len, tokens[:n_shown])) // 90),
        title=title,
        notes=notes,
    )
