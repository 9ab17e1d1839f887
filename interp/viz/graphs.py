"""Circuits as graphs: nodes in rows by layer, one line per edge, as wide as its |score|.

Values are a matrix (writers on one axis, readers on the other) or a vector over an axis of edges named
"writer->reader". Node names are those of the design (`embed`, `a3.7`, `m3`, `logits`; readers `a3.7.q`, `a3.kv2.k`;
over token positions `a3.7@S2`); a reader is drawn on the node it belongs to. Keys and values that heads share have
nodes of their own, under the heads. Other names are put in rows by their longest path from a source.
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

_NODE = re.compile(
    r"^(?P<kind>[am])(?P<layer>\d+)(?:\.(?P<part>[A-Za-z]*\d+))?(?:\.(?P<input>[qkv]))?"
    r"(?:@(?P<role>.+))?$"
)
_WIDTHS = (1.0, 1.8, 2.8, 4.0, 5.5, 7.5)
_ARRIVAL = {"q": -1, "k": 0, "v": 1}
"""Where edges arrive at a head, left to right."""
_APART = 13
"""Pixels between the ports of a head."""
_LEFT = 88
"""Pixels for the names of the rows."""
_ROW, _TALLEST = 52, 3200
"""Pixels of a row, and of the whole figure."""


@dataclass(frozen=True)
class Edge:
    """One edge: writer and reader as named, its score, and what else there is to say when one points at it."""

    writer: str
    reader: str
    score: float
    more: str = ""


@dataclass(frozen=True)
class _Layout:
    """Where nodes stand; apart: between neighbouring ports of a head; pixel: of a row."""

    places: dict[str, tuple[float, float]]
    apart: float
    pixel: float


def graph(result: Result, plot: Plot) -> Any:
    """The plot as a plotly figure; blue edges have positive scores.

    A matrix has its writers on `x` and its readers on `y` (default: writers first); where it is 0 or NaN there is no
    edge. Options: max_edges (200), colour_label, min_score, unscored (values are no scores), heads_per_group (dotted
    lines lead from shared keys and values to the heads that use them). Of a vector of edges, other values over them are
    shown when one points at them.
    """
    edges = edges_of(result, plot)
    n_most = int(plot.options.get("max_edges", 200))
    shown = sorted(edges, key=lambda edge: -abs(edge.score))[:n_most]
    places = place({node for edge in shown for node in (home(edge.writer), home(edge.reader))}, shown)
    unit = for_plotly(plot.options.get("colour_label") or result.values[plot.values].unit or plot.values)
    return _draw(plot, shown, places, unit, n_hidden=len(edges) - len(shown))


def _further(result: Result, plot: Plot) -> list[str]:
    """What the other values over the same axis of edges say of each edge, a line each."""
    axes = result.values[plot.values].axes
    lines = [""] * len(axes[0])
    for name, values in result.values.items():
        if name == plot.values or values.axes != axes:
            continue
        words = for_plotly(f"{name} ({values.unit})" if values.unit else name)
        lines = [
            f"{line}<br>{words}: {theme.number(number, 4)}"
            for line, number in zip(lines, values.data.double().tolist())
        ]
    return lines


def edges_of(result: Result, plot: Plot) -> list[Edge]:
    """The edges that have a score, from a matrix or from a vector."""
    values = result.values[plot.values]
    least = float(plot.options.get("min_score", 0.0))
    if len(values.axes) == 1:
        pairs = [_split(str(label)) for label in values.axes[0].labels]
        scores = values.data.double().tolist()
        edges = [
            Edge(writer, reader, score, more)
            for (writer, reader), score, more in zip(pairs, scores, _further(result, plot), strict=True)
        ]
    else:
        shown = arrange(result, plot, [plot.x, plot.y])
        writers, readers = (labels_of(axis) for axis in shown.axes)
        edges = [
            Edge(str(writers[i]), str(readers[j]), float(shown.data[i, j])) for i, j in np.argwhere(shown.data != 0)
        ]
    return [edge for edge in edges if math.isfinite(edge.score) and abs(edge.score) >= least]


def _split(label: str) -> tuple[str, str]:
    for arrow in ("->", "→"):
        if arrow in label:
            writer, reader = label.split(arrow, 1)
            return writer.strip(), reader.strip()
    raise InputError(f"the edge {label!r} names no writer and reader; write it as 'writer->reader'")


def home(name: str) -> str:
    """The node a writer or reader belongs to: `a3.7.q` lives on `a3.7`, `a3.7.q@S2` on `a3.7@S2`."""
    match = _NODE.match(name)
    return name[: match.start("input") - 1] + name[match.end("input") :] if match and match["input"] else name


def place(nodes: set[str], edges: list[Edge]) -> dict[str, tuple[float, float]]:
    """For each node its (x, y): rows by layer from below, heads from left to right, rows centred."""
    depth = _depths(nodes, edges)
    rows: dict[float, list[str]] = {}
    for node in nodes:
        rows.setdefault(_row(node, depth), []).append(node)
    places: dict[str, tuple[float, float]] = {}
    alone = max(1.1, 0.3 * max(map(len, rows.values()), default=0))
    for y, row in enumerate(sorted(rows)):
        names = sorted(rows[row], key=_reading_order)
        stagger = {1: 0.0 if row in (-1.0, math.inf) else alone, 2: alone / 2}.get(len(names), 0.25)
        for i, name in enumerate(names):
            # Rows are staggered a little, so that a straight line up a column does not run through other nodes.
            places[name] = (i - (len(names) - 1) / 2 + stagger * math.sin(2.4 * y), float(y))
    return places


def _row(node: str, depth: dict[str, int]) -> float:
    match = _NODE.match(node)
    if match:
        shared = _is_shared(node)
        return int(match["layer"]) + (0.5 if match["kind"] == "m" else -0.25 if shared else 0.0)
    if node.split("@")[0] in ("embed", "pos_embed", "tokens"):
        return -1.0
    return math.inf if node.split("@")[0] == "logits" else 1000.0 + depth[node]


def _is_shared(node: str) -> bool:
    """Whether a node is keys and values that several heads share."""
    match = _NODE.match(node)
    return bool(match and match["part"] and not match["part"].isdigit())


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
    n_rows = 1 + max((y for _, y in places.values()), default=0)
    height = int(min(_TALLEST, max(320, (74 if n_rows < 8 else _ROW) * n_rows + 90)))
    half = max(2.5, *(abs(x) + 0.6 for x, _ in places.values())) if places else 2.5
    apart = _APART * 2 * half / (theme.FIGURE_WIDTH - _LEFT - 20)
    layout = _Layout(places, min(0.3, apart), n_rows / (height - 90))
    scored = not plot.options.get("unscored", False)
    largest = max((abs(edge.score) for edge in edges), default=1.0)
    for positive in (True, False):
        for step, width in enumerate(_WIDTHS):
            group = [e for e in edges if (e.score >= 0) == positive and _width(e, largest) == step]
            if group:
                figure.add_trace(_lines(group, layout, width, theme.POSITIVE if positive else theme.NEGATIVE))
    if edges:
        shared = _shared(places, int(plot.options.get("heads_per_group", 1)))
        if shared is not None:
            figure.add_trace(shared)
        figure.add_trace(_handles(edges, layout, unit if scored else ""))
        figure.add_trace(_nodes(edges, places, scored))
        figure.add_trace(_inputs(edges, layout))
    note = f"{len(edges)} edges" + (", blue: positive, orange: negative; width: size" if scored else "")
    note += f"; {n_hidden} {'smaller edges ' if scored else ''}left out" if n_hidden else ""
    if any(_input_of(edge.reader) for edge in edges):
        note += "; q, k, v below a head: what an edge into it feeds, queries, keys or values"
    figure.add_annotation(text=note, x=0, y=0, xref="paper", yref="paper", yshift=-26, showarrow=False, xanchor="left")
    figure.update_xaxes(visible=False, range=[-half, half])
    rows = _rows(places)
    figure.update_yaxes(
        range=[-0.7, n_rows - 0.3],
        tickvals=list(rows),
        ticktext=[for_plotly(name) for name in rows.values()],
        tickfont={"size": 10, "color": theme.MUTED},
        showgrid=False,
        zeroline=False,
        showline=False,
        ticks="",
    )
    figure.update_layout(
        template=theme.template(),
        title=title(plot),
        height=height,
        margin={"l": _LEFT, "r": 20, "b": 44, "t": 44 if plot.title else 20},
        showlegend=False,
        hovermode="closest",
    )
    return figure


def _width(edge: Edge, largest: float) -> int:
    return min(int(abs(edge.score) / (largest or 1.0) * len(_WIDTHS)), len(_WIDTHS) - 1)


def _lines(group: list[Edge], layout: _Layout, width: float, colour: str) -> Any:
    import plotly.graph_objects as go

    x: list[float | None] = []
    y: list[float | None] = []
    for edge in group:
        points = _curve(edge, layout)
        x += [*(point[0] for point in points), None]
        y += [*(point[1] for point in points), None]
    line = {"width": width, "color": colour}
    return go.Scatter(x=x, y=y, mode="lines", line=line, opacity=0.55, hoverinfo="skip")


def _curve(edge: Edge, layout: _Layout) -> list[tuple[float, float]]:
    """Points of an S-shaped curve; q, k and v arrive at the left, the middle and the right of their head."""
    x0, y0 = layout.places[home(edge.writer)]
    x1, y1 = _port(edge.reader, layout)
    steps = np.linspace(0, 1, 13)
    ease = steps * steps * (3 - 2 * steps)
    return [(x0 + (x1 - x0) * float(e), y0 + (y1 - y0) * float(t)) for t, e in zip(steps, ease, strict=True)]


def _input_of(reader: str) -> str:
    """q, k or v of a reader's name, empty for any other."""
    match = _NODE.match(reader)
    return (match["input"] or "") if match else ""


def _rows(places: dict[str, tuple[float, float]]) -> dict[float, str]:
    """What stands in each row that a layer's name can be given to: "heads 3", "MLP 3", "keys, values 3"."""
    rows: dict[float, str] = {}
    for node, (_, y) in places.items():
        match = _NODE.match(node)
        if match:
            what = "MLP" if match["kind"] == "m" else "keys, values" if _is_shared(node) else "heads"
            rows[y] = f"{what} {match['layer']}"
    return rows


def _port(reader: str, layout: _Layout) -> tuple[float, float]:
    """Where the edges into a reader end: at a port of its head, or at its node."""
    (x, y), letter = layout.places[home(reader)], _input_of(reader)
    return (x + _ARRIVAL[letter] * layout.apart, y - (_size(home(reader)) / 2 + 3) * layout.pixel) if letter else (x, y)


def _inputs(edges: list[Edge], layout: _Layout) -> Any:
    """A small letter at each port where edges arrive: what they feed."""
    import plotly.graph_objects as go

    fed = sorted({edge.reader for edge in edges if _input_of(edge.reader)})
    ports = [_port(reader, layout) for reader in fed]
    return go.Scatter(
        x=[x for x, _ in ports],
        y=[y for _, y in ports],
        mode="markers+text",
        text=[_input_of(reader) for reader in fed],
        textfont={"size": 9, "color": theme.INK},
        marker={"size": 12, "color": "white", "opacity": 1, "line": {"color": theme.MUTED, "width": 0.8}},
        hoverinfo="skip",
    )


def _handles(edges: list[Edge], layout: _Layout, unit: str) -> Any:
    """Invisible points along the edges that carry the hover texts; without a unit there is no score to tell."""
    import plotly.graph_objects as go

    points, texts = [], []
    for edge in edges:
        text = f"<b>{for_plotly(edge.writer)} → {for_plotly(edge.reader)}</b>"
        text += f"<br>{unit}: {theme.number(edge.score, 4)}{edge.more}" if unit else ""
        for point in _curve(edge, layout)[3:10:3]:
            points.append(point)
            texts.append(text)
    x, y = zip(*points, strict=True)
    return go.Scatter(x=x, y=y, mode="markers", marker={"size": 12, "opacity": 0}, hovertext=texts, hoverinfo="text")


def _shared(places: dict[str, tuple[float, float]], per_group: int) -> Any:
    """Dotted lines from keys and values to the heads that share them; None where there are none."""
    import plotly.graph_objects as go

    x: list[float | None] = []
    y: list[float | None] = []
    for node, (x0, y0) in places.items():
        match = _NODE.match(node)
        if match is None or not _is_shared(node):
            continue
        group = int(re.sub(r"\D", "", match["part"]))
        for head in range(group * per_group, (group + 1) * per_group):
            there = places.get(f"a{match['layer']}.{head}" + (f"@{match['role']}" if match["role"] else ""))
            if there is not None:
                x += [x0, there[0], None]
                y += [y0, there[1], None]
    line = {"width": 1.2, "color": theme.MUTED, "dash": "dot"}
    return go.Scatter(x=x, y=y, mode="lines", line=line, hoverinfo="skip") if x else None


def _size(node: str) -> float:
    """Pixels of a node's box, so that its name fits."""
    return max(32.0, 6.2 * len(node) + 6) if len(node) <= 8 else 56.0


def _nodes(edges: list[Edge], places: dict[str, tuple[float, float]], scored: bool) -> Any:
    import plotly.graph_objects as go

    names = list(places)
    written = {n: sum(abs(e.score) for e in edges if home(e.writer) == n) for n in names}
    read = {n: sum(abs(e.score) for e in edges if home(e.reader) == n) for n in names}
    texts = [
        f"<b>{for_plotly(n)}</b>"
        + (f"<br>|in| {theme.number(read[n])}, |out| {theme.number(written[n])}" if scored else "")
        for n in names
    ]
    x, y = zip(*(places[n] for n in names), strict=True)
    return go.Scatter(
        x=x,
        y=y,
        mode="markers+text",
        text=[for_plotly(n) for n in names],
        textposition="middle center",
        textfont={"size": 10},
        marker={
            "size": [_size(n) for n in names],
            "color": "white",
            "opacity": 1,  # plotly makes markers of several sizes translucent
            "line": {"color": theme.INK, "width": 1.2},
            "symbol": "square",
        },
        hovertext=texts,
        hoverinfo="text",
    )
