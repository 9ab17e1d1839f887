"""Circuits as graphs: nodes in rows by layer, one line per edge, as wide as its |score|.

Values are a matrix (writers on one axis, readers on the other) or a vector over an axis of edges named
"writer->reader". Node names are those of the design (`embed`, `a3.7`, `m3`, `logits`; readers `a3.7.q`, `a3.kv2.k`); a
reader is drawn on the node it belongs to. Other names are put in rows by their longest path from a source.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from interp.errors import InputError
from interp.viz import theme
from interp.viz.arranging import arrange, labels_of
from interp.viz.framing import title
from interp.viz.text import for_plotly

if TYPE_CHECKING:
    from interp.results import Plot, Result

_NODE = re.compile(r"^(?P<kind>[am])(?P<layer>\d+)(?:\.(?P<part>[A-Za-z]*\d+))?(?:\.(?P<input>[qkv]))?$")
_WIDTHS = (1.0, 1.8, 2.8, 4.0, 5.5, 7.5)


@dataclass(frozen=True)
class Edge:
    """One edge: writer and reader as named, and its score."""

    writer: str
    reader: str
    score: float


def graph(result: Result, plot: Plot) -> Any:
    """The plot as a plotly figure; blue edges have positive scores. Options: max_edges (200), colour_label, min_score.

    A matrix has its writers on `x` and its readers on `y` (default: writers first). Edges of score 0 or NaN are left
    out.
    """
    edges = edges_of(result, plot)
    n_most = int(plot.options.get("max_edges", 200))
    shown = sorted(edges, key=lambda edge: -abs(edge.score))[:n_most]
    places = place({node for edge in shown for node in (home(edge.writer), home(edge.reader))}, shown)
    unit = for_plotly(plot.options.get("colour_label") or result.values[plot.values].unit or plot.values)
    return _draw(plot, shown, places, unit, n_hidden=len(edges) - len(shown))


def edges_of(result: Result, plot: Plot) -> list[Edge]:
    """The edges that have a score, from a matrix or from a vector."""
    values = result.values[plot.values]
    least = float(plot.options.get("min_score", 0.0))
    if len(values.axes) == 1:
        pairs = [_split(str(label)) for label in values.axes[0].labels]
        scores = values.data.double().tolist()
        edges = [Edge(writer, reader, score) for (writer, reader), score in zip(pairs, scores, strict=True)]
    else:
        shown = arrange(result, plot, [plot.x, plot.y])
        writers, readers = (labels_of(axis) for axis in shown.axes)
        edges = [
            Edge(str(writers[i]), str(readers[j]), float(shown.data[i, j])) for i, j in np.argwhere(shown.data != 0)
        ]
    return [edge for edge in edges if math.isfinite(edge.score) and abs(edge.score) > 0 and abs(edge.score) >= least]


def _split(label: str) -> tuple[str, str]:
    for arrow in ("->", "→"):
        if arrow in label:
            writer, reader = label.split(arrow, 1)
            return writer.strip(), reader.strip()
    raise InputError(f"the edge {label!r} names no writer and reader; write it as 'writer->reader'")


def home(name: str) -> str:
    """The node a writer or reader belongs to: `a3.7.q` lives on `a3.7`."""
    match = _NODE.match(name)
    return name.rsplit(".", 1)[0] if match and match["input"] else name


def place(nodes: set[str], edges: list[Edge]) -> dict[str, tuple[float, float]]:
    """For each node its (x, y): rows by layer from below, heads from left to right, rows centred."""
    depth = _depths(nodes, edges)
    rows: dict[float, list[str]] = {}
    for node in nodes:
        rows.setdefault(_row(node, depth), []).append(node)
    places: dict[str, tuple[float, float]] = {}
    for y, row in enumerate(sorted(rows)):
        names = sorted(rows[row], key=_reading_order)
        stagger = {1: 1.1, 2: 0.6}.get(len(names), 0.25)
        for i, name in enumerate(names):
            # Rows are staggered a little, so that a straight line up a column does not run through other nodes.
            places[name] = (i - (len(names) - 1) / 2 + stagger * math.sin(2.4 * y), float(y))
    return places


def _row(node: str, depth: dict[str, int]) -> float:
    match = _NODE.match(node)
    if match:
        return int(match["layer"]) + (0.5 if match["kind"] == "m" else 0.0)
    if node in ("embed", "pos_embed", "tokens"):
        return -1.0
    return math.inf if node == "logits" else 1000.0 + depth[node]


def _depths(nodes: set[str], edges: list[Edge]) -> dict[str, int]:
    """The longest path from a source, for nodes whose names say nothing; cycles are cut at the number of nodes."""
    depth = dict.fromkeys(nodes, 0)
    for _ in range(min(len(nodes), 60)):
        before = dict(depth)
        for edge in edges:
            writer, reader = home(edge.writer), home(edge.reader)
            depth[reader] = min(max(depth[reader], depth[writer] + 1), len(nodes))
        if depth == before:
            break
    return depth


def _reading_order(name: str) -> list[Any]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _draw(plot: Plot, edges: list[Edge], places: dict[str, tuple[float, float]], unit: str, n_hidden: int) -> Any:
    import plotly.graph_objects as go

    figure = go.Figure()
    largest = max((abs(edge.score) for edge in edges), default=1.0)
    for positive in (True, False):
        for step, width in enumerate(_WIDTHS):
            group = [e for e in edges if (e.score > 0) == positive and _width(e, largest) == step]
            if group:
                figure.add_trace(_lines(group, places, width, theme.POSITIVE if positive else theme.NEGATIVE))
    if edges:
        figure.add_trace(_handles(edges, places, unit))
        figure.add_trace(_nodes(edges, places))
    n_rows = 1 + max((y for _, y in places.values()), default=0)
    signs = "blue: positive, orange: negative; width: size"
    note = f"{len(edges)} edges, {signs}" + (f"; {n_hidden} smaller edges left out" if n_hidden else "")
    figure.add_annotation(text=note, x=0, y=0, xref="paper", yref="paper", yshift=-26, showarrow=False, xanchor="left")
    half = max(2.5, *(abs(x) + 0.6 for x, _ in places.values())) if places else 2.5
    figure.update_xaxes(visible=False, range=[-half, half])
    figure.update_yaxes(visible=False)
    figure.update_layout(
        template=theme.template(),
        title=title(plot),
        height=int(min(1100, max(320, 74 * n_rows + 90))),
        margin={"l": 20, "r": 20, "b": 44, "t": 44 if plot.title else 20},
        showlegend=False,
        hovermode="closest",
    )
    return figure


def _width(edge: Edge, largest: float) -> int:
    return min(int(abs(edge.score) / largest * len(_WIDTHS)), len(_WIDTHS) - 1)


def _lines(group: list[Edge], places: dict[str, tuple[float, float]], width: float, colour: str) -> Any:
    import plotly.graph_objects as go

    x: list[float | None] = []
    y: list[float | None] = []
    for edge in group:
        points = _curve(edge, places)
        x += [*(point[0] for point in points), None]
        y += [*(point[1] for point in points), None]
    line = {"width": width, "color": colour}
    return go.Scatter(x=x, y=y, mode="lines", line=line, opacity=0.55, hoverinfo="skip")


def _curve(edge: Edge, places: dict[str, tuple[float, float]]) -> list[tuple[float, float]]:
    """Points of an S-shaped curve; q, k and v arrive at the left, the middle and the right of their head."""
    (x0, y0), (x1, y1) = places[home(edge.writer)], places[home(edge.reader)]
    match = _NODE.match(edge.reader)
    x1 += {"q": -0.12, "k": 0.0, "v": 0.12}.get(match["input"] or "", 0.0) if match else 0.0
    steps = np.linspace(0, 1, 13)
    ease = steps * steps * (3 - 2 * steps)
    return [(x0 + (x1 - x0) * float(e), y0 + (y1 - y0) * float(t)) for t, e in zip(steps, ease, strict=True)]


def _handles(edges: list[Edge], places: dict[str, tuple[float, float]], unit: str) -> Any:
    """Invisible points along the edges that carry the hover texts."""
    import plotly.graph_objects as go

    points, texts = [], []
    for edge in edges:
        text = f"<b>{for_plotly(edge.writer)} → {for_plotly(edge.reader)}</b><br>{unit}: {theme.number(edge.score, 4)}"
        for point in _curve(edge, places)[3:10:3]:
            points.append(point)
            texts.append(text)
    x, y = zip(*points, strict=True)
    return go.Scatter(x=x, y=y, mode="markers", marker={"size": 12, "opacity": 0}, hovertext=texts, hoverinfo="text")


def _nodes(edges: list[Edge], places: dict[str, tuple[float, float]]) -> Any:
    import plotly.graph_objects as go

    names = list(places)
    written = {n: sum(abs(e.score) for e in edges if home(e.writer) == n) for n in names}
    read = {n: sum(abs(e.score) for e in edges if home(e.reader) == n) for n in names}
    texts = [f"<b>{for_plotly(n)}</b><br>|in| {theme.number(read[n])}, |out| {theme.number(written[n])}" for n in names]
    x, y = zip(*(places[n] for n in names), strict=True)
    return go.Scatter(
        x=x,
        y=y,
        mode="markers+text",
        text=[for_plotly(n) for n in names],
        textposition="middle center",
        textfont={"size": 11},
        marker={"size": 36, "color": "white", "line": {"color": theme.INK, "width": 1.2}, "symbol": "square"},
        hovertext=texts,
        hoverinfo="text",
    )
