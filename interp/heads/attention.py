"""The attention patterns of chosen heads on a prompt or a few, for looking at and for further computation."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

import torch

from interp.errors import InputError
from interp.heads.reducing import reduce_patterns
from interp.hooks.head_names import Head, HeadLike, as_heads, as_layers, head_name
from interp.hooks.prompts import PromptTokens
from interp.models import identity
from interp.results import Axis, Plot, Result, Values
from interp.runs import provenance
from interp.tasks.prompting import Prompts, as_prompts, described, has_bos, strings_of

MAX_BYTES = 2**30
"""Patterns that one result may hold."""


class AttentionPatterns(Result):
    """pattern [example, head, query, key]: attention weights of the chosen heads; 0 beyond a prompt's end."""

    kind: ClassVar[str] = "attention_patterns"


def patterns(
    model: Any,
    prompts: Prompts,
    *,
    heads: Sequence[HeadLike] | HeadLike | None = None,
    layers: Sequence[int] | int | None = None,
    prepend_bos: bool = False,
    batch_size: int | None = None,
) -> AttentionPatterns:
    """The attention patterns of some heads ("18.6" or (18, 6)), or of all heads of some layers, on each prompt.

    prompts: a text, several texts, token ids or a task. The result shows itself as a view one can explore. Raises
    InputError for a head or layer that does not exist, and for patterns of more than a gigabyte.
    """
    started = datetime.now()
    if heads is not None and layers is not None:
        raise InputError("give heads or layers, not both")
    n_heads = int(model.cfg.n_heads)
    all_of_layers = [(layer, head) for layer in as_layers(model, layers) for head in range(n_heads)]
    chosen = all_of_layers if heads is None else as_heads(model, heads)
    tokens = as_prompts(model, prompts, prepend_bos=prepend_bos)
    pattern, strings = kept_patterns(model, tokens, chosen, batch_size)
    return AttentionPatterns(
        values={"pattern": pattern},
        settings={
            "heads": [head_name(head) for head in chosen],
            "prepend_bos": has_bos(prompts, prepend_bos),
            "n": len(tokens),
        },
        provenance=provenance(model=identity(model), started=started, **described(prompts)),
        plots=(Plot("attention", "pattern", title="Attention", caption="Where each head looks from every token."),),
        texts={"tokens": strings},
    )


def kept_patterns(
    model: Any, tokens: PromptTokens, heads: Sequence[Head], batch_size: int | None = None
) -> tuple[Values, list[list[str]]]:
    """Patterns [example, head, query, key] of some heads, pads zeroed, and the strings of every prompt's tokens."""
    n_prompts, n_pos = tokens.shape
    size = 4 * n_prompts * len(heads) * n_pos**2
    if size > MAX_BYTES:
        raise InputError(
            f"the patterns of {len(heads)} heads on {n_prompts} prompts of {n_pos} tokens are {size / 2**30:.1f} GiB; "
            "choose fewer heads, prompts or tokens"
        )
    by_layer: dict[int, list[int]] = {}
    for layer, head in heads:
        by_layer.setdefault(layer, []).append(head)
    found = reduce_patterns(
        model, tokens, lambda pattern, layer, rows: pattern[:, by_layer[layer]], [*by_layer], batch_size
    )
    data = torch.stack([found[layer][:, by_layer[layer].index(head)] for layer, head in heads], dim=1)
    end = torch.arange(n_pos)[None, :] < tokens.lengths.cpu()[:, None]
    data *= (end[:, :, None] & end[:, None, :])[:, None]
    axes = (
        Axis("example", tuple(range(n_prompts))),
        Axis("head", tuple(head_name(head) for head in heads)),
        Axis("query", tuple(range(n_pos))),
        Axis("key", tuple(range(n_pos))),
    )
    return Values(data, axes, "attention"), strings_of(model, tokens)
