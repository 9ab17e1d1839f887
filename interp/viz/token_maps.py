"""Attention and token highlights as plain heatmaps: what `result.figure()` shows where no page can run CircuitsVis."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from interp.viz.arranging import Arranged, Array
from interp.viz.heatmaps import draw
from interp.viz.prompts import heads_of, prompts_of
from interp.viz.text import for_plotly

if TYPE_CHECKING:
    from interp.results import Plot, Result

MAX_HEADS = 12
TOKENS_PER_ROW = 12


def attention(result: Result, plot: Plot) -> Any:
    """Attention as facets by head, keys across and queries down; future keys are grey.

    With several prompts of one length the mean is drawn, on positions where their tokens differ; prompts of different
    lengths have no mean, and the first is drawn. Of many heads the 12 that attend most to other keys than the first
    are shown.
    """
    from interp.results import Axis

    patterns, tokens = _mean_pattern(result, plot)
    names = heads_of(result.values[plot.values])
    note = ""
    if len(names) > MAX_HEADS:
        away = np.nan_to_num(patterns[:, :, 1:]).sum(axis=(1, 2))
        keep = sorted(np.argsort(-away, kind="stable")[:MAX_HEADS].tolist())
        note = f" ({MAX_HEADS} of {len(names)} heads)"
        patterns, names = patterns[keep], [names[i] for i in keep]
    future = np.triu(np.ones(patterns.shape[1:], dtype=bool), k=1)
    patterns = np.where(future & (patterns == 0), np.nan, patterns)
    heads = None if names == [""] else Axis("head", tuple(names))
    axes = (heads, Axis("query", tokens), Axis("key", tokens))
    shown = Arranged(patterns, axes, None, None, result.values[plot.values].unit or "attention")
    options = {"square": True, "colour_range": [0, 1]} | dict(plot.options)
    return draw(shown, replace(plot, title=plot.title + note, options=options))


def _mean_pattern(result: Result, plot: Plot) -> tuple[Array, tuple[str, ...]]:
    """[head, query, key] and the labels of the positions."""
    prompts = prompts_of(result, plot, ("query", "key"))
    lengths = {len(prompt.tokens) for prompt in prompts}
    if len(lengths) > 1:
        prompts = prompts[:1]
    mean = np.mean([prompt.data for prompt in prompts], axis=0)
    same = len({tuple(prompt.tokens) for prompt in prompts}) == 1
    tokens = prompts[0].tokens if same else [str(i) for i in range(len(prompts[0].tokens))]
    return mean.reshape(-1, *mean.shape[-2:]), tuple(tokens)


def token_strip(result: Result, plot: Plot) -> Any:
    """Tokens in rows of 12, each cell coloured by its value; a block of rows per prompt and label of a further axis."""
    from interp.results import Axis

    rows: list[list[tuple[float, str]]] = []
    labels: list[str] = []
    kinds = heads_of(result.values[plot.values], without=("position",))
    for prompt in prompts_of(result, plot, ("position",)):
        for kind, values in zip(kinds, prompt.data.reshape(len(kinds), -1).tolist(), strict=True):
            pairs = list(zip(values, prompt.tokens, strict=True))
            for start in range(0, len(pairs), TOKENS_PER_ROW):
                rows.append(pairs[start : start + TOKENS_PER_ROW])
                labels.append(f"{prompt.name} {kind} {start}–{start + len(rows[-1]) - 1}".strip())
    data = np.full((1, len(rows), TOKENS_PER_ROW), np.nan)
    texts = np.full(data.shape, "", dtype=object)
    for i, row in enumerate(rows):
        for j, (value, token) in enumerate(row):
            data[0, i, j], texts[0, i, j] = value, for_plotly(token, 9)
    axes = (None, Axis("tokens", tuple(labels)), Axis("column", tuple(range(TOKENS_PER_ROW))))
    shown = Arranged(data, axes, None, None, result.values[plot.values].unit)
    centred = bool((np.nan_to_num(data) < 0).any())
    options = {"zero_centred": centred, "x_label": "", "y_label": ""} | dict(plot.options)
    figure = draw(shown, replace(plot, options=options), cell_text=texts)
    figure.update_xaxes(showticklabels=False, ticks="")
    return figure
