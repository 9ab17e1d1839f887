"""CircuitsVis views of attention and tokens: without a network, several to a page, with any text in the tokens.

CircuitsVis's own `str(view)` loads from a network, its pages show only the first of several views, and its tokens can
break the page. The functions here have the names of CircuitsVis's and give a `View`, which does none of that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from interp.errors import InputError
from interp.viz import theme
from interp.viz.text import decimals_for, for_inner_html, rounded, visible
from interp.viz.views import View, one_component, stacked

MAX_TOKENS = 128
"""Tokens of one text that an attention view shows; a longer one is cut, and the view says so."""
MAX_BYTES = 4_000_000
"""Data of one view; heads beyond it are left out, and the view says so."""

Array = np.ndarray | Tensor | Sequence[Any]


def attention_heads(
    attention: Float[Tensor, "head query key"] | Array,
    tokens: Sequence[str],
    head_names: Sequence[str] | None = None,
    *,
    title: str = "",
    max_tokens: int = MAX_TOKENS,
    max_bytes: int = MAX_BYTES,
) -> View:
    """All given heads as small patterns, the chosen one enlarged. Attention is in [0, 1] or signed within [-1, 1].

    Raises InputError when the shapes do not fit. What exceeds `max_tokens` or `max_bytes` is left out, and the view
    says so.
    """
    patterns = _numbers(attention, 3, "attention", "[head, query, key]")
    names = list(head_names) if head_names is not None else [f"H{i}" for i in range(len(patterns))]
    _check_square(patterns, tokens)
    if len(names) != len(patterns):
        raise InputError(f"attention has {len(patterns)} heads but there are {len(names)} head names")
    patterns, shown, notes = _cut_tokens(patterns, tokens, max_tokens)
    patterns, names, notes = _cut_heads(patterns, names, max_bytes, notes)
    props = {"attention": rounded(patterns), "attentionHeadNames": names, **_pattern_props(patterns, shown)}
    rows = -(-len(names) // 12)
    return one_component("AttentionHeads", props, height=100 + 76 * rows + 640, title=title, notes=notes)


def attention_pattern(
    attention: Float[Tensor, "query key"] | Array,
    tokens: Sequence[str],
    *,
    title: str = "",
    max_tokens: int = MAX_TOKENS,
) -> View:
    """One head's pattern, queries down and keys across; hovering shows the tokens and the weight."""
    pattern = _numbers(attention, 2, "attention", "[query, key]")[None]
    _check_square(pattern, tokens)
    pattern, shown, notes = _cut_tokens(pattern, tokens, max_tokens)
    props = {"attention": rounded(pattern[0]), **_pattern_props(pattern, shown)}
    return one_component("AttentionPattern", props, height=620, title=title, notes=notes)


def colored_tokens(
    tokens: Sequence[str] | Sequence[Sequence[str]],
    values: Array,
    *,
    labels: Sequence[str] | None = None,
    limit: float | int | None = None,
    title: str = "",
) -> View:
    """Tokens of one text, or of several, coloured by one value each: blue above zero, vermillion below, white at zero.

    values: [token], or a list of them, one per text. All texts share one scale, whose end is `limit` (default: the
    largest |value|). labels: a name per text.
    """
    texts, rows = _texts(tokens, values)
    everything = np.concatenate(rows) if rows else np.zeros(0)
    largest = limit or float(np.nanmax(np.abs(everything), initial=0.0)) or 1.0
    names = list(labels) if labels is not None else [""] * len(texts)
    decimals = decimals_for(everything)
    items = [
        (name, {**_token_props(text, largest), "values": rounded(row, decimals)})
        for name, text, row in zip(names, texts, rows, strict=True)
    ]
    height = sum(27 * (1 + sum(map(len, text)) // 95) + 24 * bool(name) for name, text in zip(names, texts)) + 8
    return stacked("ColoredTokens", items, height=height, title=title)


def colored_tokens_multi(
    tokens: Sequence[str], values: Float[Tensor, "token kind"] | Array, labels: Sequence[str], *, title: str = ""
) -> View:
    """Tokens with several values each: a button per kind colours the tokens, hovering lists all of a token's values."""
    table = _numbers(values, 2, "values", "[token, kind]")
    if table.shape != (len(tokens), len(labels)):
        raise InputError(f"values of shape {table.shape} need {table.shape[0]} tokens and {table.shape[1]} labels")
    decimals = decimals_for(table)
    props = {"tokens": [for_inner_html(t) for t in tokens], "values": rounded(table, decimals), "labels": list(labels)}
    height = 150 + 30 * (1 + sum(map(len, tokens)) // 95) + 20 * len(labels)
    return one_component("ColoredTokensMulti", props, height=height, title=title)


def text_neuron_activations(
    tokens: Sequence[str] | Sequence[Sequence[str]],
    activations: Array | Sequence[Array],
    *,
    names: tuple[str, str] = ("Layer", "Neuron"),
    labels: tuple[Sequence[str] | None, Sequence[str] | None] = (None, None),
    title: str = "",
) -> View:
    """Texts coloured by one of many activations, chosen by two menus; activations [token, layer, neuron] per text."""
    several = not isinstance(tokens[0], str)
    texts = [list(text) for text in tokens] if several else [list(map(str, tokens))]
    tables = [
        _numbers(a, 3, "activations", "[token, layer, neuron]") for a in (activations if several else [activations])
    ]
    for text, one in zip(texts, tables, strict=True):
        if len(text) != len(one):
            raise InputError(f"activations of {len(one)} tokens do not fit a text of {len(text)} tokens")
    decimals = decimals_for(np.concatenate([one.ravel() for one in tables]))
    props: dict[str, Any] = {
        "tokens": [[for_inner_html(token) for token in text] for text in texts],
        "activations": [rounded(one, decimals) for one in tables],
        "firstDimensionName": names[0],
        "secondDimensionName": names[1],
    }
    for key, given in zip(("firstDimensionLabels", "secondDimensionLabels"), labels, strict=True):
        if given is not None:
            props[key] = [str(label) for label in given]
    height = 120 + sum(46 + 30 * (sum(map(len, text)) // 90) for text in texts[:5])
    return one_component("TextNeuronActivations", props, height=height, title=title)


def topk_tokens(
    tokens: Sequence[Sequence[str]],
    activations: Sequence[Array],
    *,
    k: int = 10,
    names: tuple[str, str] = ("Layer", "Neuron"),
    layer_labels: Sequence[str] | None = None,
    sample_labels: Sequence[str] | None = None,
    title: str = "",
) -> View:
    """For each text and layer, the tokens on which each neuron is largest and smallest.

    activations: [layer, token, neuron] per text. For a logit lens, the "text" is the list of candidate tokens, a
    "neuron" a position and the activation a probability.
    """
    tables = [_numbers(one, 3, "activations", "[layer, token, neuron]") for one in activations]
    props: dict[str, Any] = {
        "tokens": [[for_inner_html(token) for token in text] for text in tokens],
        "firstDimensionName": names[0],
        "thirdDimensionName": names[1],
    }
    for which, largest in (("topk", True), ("bottomk", False)):
        places = [_extreme(one, k, largest) for one in tables]
        props[which + "Idxs"] = [place.tolist() for place in places]
        taken = [np.take_along_axis(one, place, axis=1) for one, place in zip(tables, places, strict=True)]
        props[which + "Vals"] = [rounded(values, decimals_for(values)) for values in taken]
    if layer_labels is not None:
        props["firstDimensionLabels"] = [str(label) for label in layer_labels]
    if sample_labels is not None:
        props["sampleLabels"] = [str(label) for label in sample_labels]
    return one_component("TopkTokens", props, height=180 + 54 * k, title=title)


def _numbers(values: Array, n_dims: int, name: str, shape: str) -> np.ndarray:
    array = values.detach().cpu().double().numpy() if isinstance(values, Tensor) else np.asarray(values, dtype=float)
    if array.ndim != n_dims:
        raise InputError(f"{name} must be {shape}, but has shape {array.shape}")
    return array


def _check_square(patterns: np.ndarray, tokens: Sequence[str]) -> None:
    if patterns.shape[1:] != (len(tokens), len(tokens)):
        raise InputError(
            f"attention of shape {patterns.shape} needs {patterns.shape[1]} queries and keys, but there are "
            f"{len(tokens)} tokens: give one token per position"
        )


def _pattern_props(patterns: np.ndarray, tokens: Sequence[str]) -> dict[str, Any]:
    # Drawn on a canvas, where no text is markup; the white space of a token is dropped by CircuitsVis itself.
    causal = not np.triu(np.nan_to_num(patterns), k=1).any()
    bound = max(1.0, float(np.nanmax(np.abs(patterns), initial=0.0)))
    return {
        "tokens": [_short(visible(token)) for token in tokens],
        "maskUpperTri": causal,
        "upperTriColor": theme.MISSING,
        "minValue": -bound,
        "maxValue": bound,
        **_COLOURS,
    }


_COLOURS = {"positiveColor": theme.POSITIVE, "negativeColor": theme.NEGATIVE}


def _short(token: str) -> str:
    # Every token is a tick of the axes: one long token would squeeze the pattern.
    return token if len(token) <= 14 else token[:13] + "…"


def _token_props(tokens: Sequence[str], largest: float) -> dict[str, Any]:
    shown = [for_inner_html(token) for token in tokens]
    return {"tokens": shown, "minValue": -largest, "maxValue": largest, **_COLOURS}


def _cut_tokens(
    patterns: np.ndarray, tokens: Sequence[str], max_tokens: int
) -> tuple[np.ndarray, Sequence[str], list[str]]:
    if len(tokens) <= max_tokens:
        return patterns, tokens, []
    note = f"Only the first {max_tokens} of {len(tokens)} tokens are shown."
    return patterns[:, :max_tokens, :max_tokens], tokens[:max_tokens], [note]


def _cut_heads(
    patterns: np.ndarray, names: list[str], max_bytes: int, notes: list[str]
) -> tuple[np.ndarray, list[str], list[str]]:
    n_heads = max(1, int(max_bytes // json_bytes(patterns[:1])))
    if n_heads >= len(names):
        return patterns, names, notes
    note = (
        f"Only {n_heads} of {len(names)} heads are shown, to keep the page small; choose others with result.sel(...)."
    )
    return patterns[:n_heads], names[:n_heads], [*notes, note]


def json_bytes(patterns: np.ndarray) -> int:
    """Bytes of the JSON: about 6 for a number, 2 for a zero."""
    n_zero = int((np.abs(np.nan_to_num(patterns)) < 5e-4).sum())
    return 6 * (patterns.size - n_zero) + 2 * n_zero + 1


def _texts(tokens: Sequence[Any], values: Array) -> tuple[list[list[str]], list[np.ndarray]]:
    several = bool(len(tokens)) and not isinstance(tokens[0], str)
    texts = [[str(token) for token in text] for text in tokens] if several else [[str(token) for token in tokens]]
    given: Sequence[Any] = list(values) if several else [values]
    if len(given) != len(texts):
        raise InputError(f"there are {len(texts)} texts but values for {len(given)}")
    rows = [_numbers(row, 1, "values", "[token]") for row in given]
    for text, row in zip(texts, rows, strict=True):
        if len(text) != len(row):
            raise InputError(f"{len(row)} values do not fit a text of {len(text)} tokens: give one value per token")
    return texts, rows


def _extreme(table: np.ndarray, k: int, largest: bool) -> np.ndarray:
    """Places of the k largest (falling) or smallest (falling too: the smallest last) values along axis 1."""
    order = np.argsort(-table, axis=1, kind="stable")
    return order[:, :k] if largest else order[:, -k:]
