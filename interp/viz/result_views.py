"""`view(result, plot)`: the page of an attention or text plot, with menus for prompts and layers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import InputError
from interp.viz.circuitsvis_views import MAX_BYTES, MAX_TOKENS, attention_heads, colored_tokens, json_bytes
from interp.viz.prompts import EXAMPLE, Prompt, heads_of, prompts_of
from interp.viz.query_key_view import query_key
from interp.viz.views import View, paged

if TYPE_CHECKING:
    from interp.results import Plot, Result

MAX_PROMPTS = 8
"""Prompts in the menu of one attention view; the first are taken, and the view says so."""


def view(result: Result, plot: Plot | int = 0, *, max_bytes: int = MAX_BYTES) -> View:
    """The view of one plot of kind attention or text; `plot` is a description or its place in `result.plots`.

    Attention: values (example?, layer?, head?, query, key). Text: values (example?, any?, position). Tokens come from
    `result.texts["tokens"]`. Options: max_tokens, max_prompts; view="query_key" with keys=<name of the key values>
    draws the query-key neuron view from queries (example?, layer?, head, position, dim), with scale and query if given.
    Raises InputError for other kinds of plot, which `interp.viz.figure` draws.
    """
    chosen = result.plots[plot] if isinstance(plot, int) else plot
    if chosen.kind == "attention" and chosen.options.get("view") == "query_key":
        made = _query_key(result, chosen)
    elif chosen.kind == "attention":
        made = _attention(result, chosen, max_bytes)
    elif chosen.kind == "text":
        made = _text(result, chosen)
    else:
        raise InputError(f"a plot of kind {chosen.kind!r} has no view; draw it with interp.viz.figure(result, plot)")
    return replace(made, title=chosen.title)


def _attention(result: Result, plot: Plot, max_bytes: int) -> View:
    """One menu of prompts and one of layers (where there are several), all heads of the layer below."""
    prompts = prompts_of(result, plot, ("query", "key"))
    weight = max(json_bytes(prompt.data) for prompt in prompts)
    prompts, notes = _first(prompts, plot, default=max(1, min(MAX_PROMPTS, max_bytes // weight)))
    names = [name or "attention" for name in heads_of(result.values[plot.values])]
    layers = _layers(result, plot)
    per_page = len(names) // max(len(layers), 1) if layers else len(names)
    max_tokens = int(plot.options.get("max_tokens", MAX_TOKENS))
    starts = list(range(0, len(names), per_page))
    budget = max_bytes // (len(starts) * len(prompts))
    pages = []
    for prompt in prompts:
        patterns = prompt.data.reshape(-1, *prompt.data.shape[-2:])
        for start in starts:
            part = slice(start, start + per_page)
            pages.append(
                attention_heads(patterns[part], prompt.tokens, names[part], max_tokens=max_tokens, max_bytes=budget)
            )
    made = paged(pages, [("prompt", [p.name for p in prompts]), ("layer", layers)])
    return replace(made, notes=(*made.notes, *notes))


def _layers(result: Result, plot: Plot) -> list[str]:
    """Labels of the layer menu: only where a layer axis comes first and its heads would not fit side by side."""
    axes = [a for a in result.values[plot.values].axes if a.name not in (EXAMPLE, "query", "key")]
    n_heads = int(np.prod([len(axis) for axis in axes])) if axes else 1
    if len(axes) < 2 or axes[0].name != "layer" or n_heads <= 24:
        return []
    return [str(label) for label in axes[0].labels]


def _text(result: Result, plot: Plot) -> View:
    """All prompts below each other; a menu for the other axis of the values, if there is one."""
    prompts, notes = _first(prompts_of(result, plot, ("position",)), plot, default=40)
    others = [a for a in result.values[plot.values].axes if a.name not in (EXAMPLE, "position")]
    if len(others) > 1:
        raise InputError(f"a text plot has room for one axis beside the tokens, not for {[a.name for a in others]}")
    tokens, labels = [p.tokens for p in prompts], [p.name for p in prompts]
    if not others:
        made = colored_tokens(tokens, [p.data for p in prompts], labels=labels)
    else:
        pages = [colored_tokens(tokens, [p.data[i] for p in prompts], labels=labels) for i in range(len(others[0]))]
        made = paged(pages, [(others[0].name, [str(label) for label in others[0].labels])])
    return replace(made, notes=(*made.notes, *notes))


def _first(prompts: list[Prompt], plot: Plot, default: int = MAX_PROMPTS) -> tuple[list[Prompt], tuple[str, ...]]:
    n = int(plot.options.get("max_prompts", default))
    if len(prompts) <= n:
        return prompts, ()
    return prompts[:n], (f"Only the first {n} of {len(prompts)} prompts are shown.",)


def _query_key(result: Result, plot: Plot) -> View:
    """The heads of all layers behind one menu; each layer's heads read that layer's groups of keys."""
    keys = plot.options.get("keys")
    if not isinstance(keys, str) or keys not in result.values:
        raise InputError("a query_key view needs the option keys: the name of the values that hold the key vectors")
    tokens, q = _vectors(result, plot)
    _, k = _vectors(result, replace(plot, values=keys))
    dim = result.values[plot.values].dims[-1]
    names = heads_of(result.values[plot.values], without=("position", dim))
    settings = {name: plot.options[name] for name in ("scale", "query") if name in plot.options}
    return query_key(q, k, tokens, head_names=names, **settings)


def _vectors(result: Result, plot: Plot) -> tuple[list[str], Float[Tensor, "head pos d_head"]]:
    """The first prompt's tokens and vectors, the layers' heads one after the other."""
    prompt = prompts_of(result, plot, ("position",))[0]
    vectors = np.moveaxis(prompt.data, -1, -2)  # prompts_of puts the tokens last
    return prompt.tokens, torch.from_numpy(vectors.reshape(-1, *vectors.shape[-2:]).copy())
