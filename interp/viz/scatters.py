"""Points of two numbers each, with intervals in both directions and names that do not cover each other."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from interp.errors import InputError
from interp.viz import theme
from interp.viz.arranging import Arranged, arrange, labels_of
from interp.viz.framing import title
from interp.viz.reference_lines import add_references
from interp.viz.scales import log_ticks
from interp.viz.text import for_plotly

if TYPE_CHECKING:
    from interp.results import Plot, Result

HEIGHT = 560
_FAR = 1e6
_LETTER, _LINE = 6.6, 15.0  # pixels of a letter and a line of the names beside the points
# Corners, since the whiskers go straight out of a point.
_SIDES = {"top right": (1, 1), "bottom right": (1, -1), "top left": (-1, 1), "bottom left": (-1, -1)}


def scatter(result: Result, plot: Plot) -> Any:
    """The plot as a plotly figure: a point for each label of `series`; `x` names the axis with the two coordinates.

    That axis has two labels, which name the horizontal and the vertical axis of the figure. Options: families ({label:
    family}: a colour each), named (labels written beside their points; default: all up to 12), diagonal (the name of
    the line on which both coordinates are equal, which is then drawn), connected (a line through the points of each
    family, from left to right), log_x, marker_size, references ({name: value}, dashed horizontal lines). Raises
    InputError unless there are two.
    """
    import plotly.graph_objects as go

    shown = arrange(result, plot, [plot.series, plot.x])
    coordinates = labels_of(shown.axes[1])
    if len(coordinates) != 2:
        raise InputError(f"a scatter needs two numbers a point, and the axis {plot.x!r} has {len(coordinates)} labels")
    names = [str(name) for name in labels_of(shown.axes[0])]
    placed = _logarithmic(shown) if plot.options.get("log_x") else shown
    ends = _ranges(placed, bool(plot.options.get("diagonal")))
    figure = go.Figure()
    _add_diagonal(figure, plot, ends)
    sides = _sides(placed.data, ends, names, _named(plot, names))
    families = plot.options.get("families", {})
    for i, family in enumerate(dict.fromkeys(families.get(name, "") for name in names)):
        rows = [row for row, name in enumerate(names) if families.get(name, "") == family]
        if plot.options.get("connected"):
            rows.sort(key=lambda row: float(shown.data[row, 0]))
        figure.add_trace(_points(shown, plot, rows, names, sides, str(family), i))
    _lay_out(figure, plot, coordinates, shown.unit, ends, len(figure.data))
    add_references(figure, plot)
    return figure


def _logarithmic(shown: Arranged) -> Arranged:
    """The points with the logarithm of their first coordinate, as a logarithmic axis places them."""

    def moved(data: Any) -> Any:
        return None if data is None else np.stack([np.log10(data[:, 0]), data[:, 1]], axis=1)

    return replace(shown, data=moved(shown.data), low=moved(shown.low), high=moved(shown.high))


def _points(
    shown: Arranged, plot: Plot, rows: list[int], names: list[str], sides: dict[int, str], family: str, i: int
) -> Any:
    import plotly.graph_objects as go

    colour = theme.CATEGORIES[i % len(theme.CATEGORIES)]
    size = float(plot.options.get("marker_size", 9))
    return go.Scatter(
        x=shown.data[rows, 0],
        y=shown.data[rows, 1],
        mode="lines+markers+text" if plot.options.get("connected") else "markers+text",
        line={"color": colour, "width": 1.5},
        name=for_plotly(family, 28),
        marker={"color": colour, "size": size, "line": {"color": "white", "width": 1 if size > 6 else 0.4}},
        error_x=_whiskers(shown, rows, 0, colour),
        error_y=_whiskers(shown, rows, 1, colour),
        text=[for_plotly(names[row], 28) if row in sides else "" for row in rows],
        textposition=[sides.get(row, "top right") for row in rows],
        textfont={"size": 12, "color": theme.INK},
        hovertext=[_hover(shown, plot, row) for row in rows],
        hoverinfo="text",
    )


def _hover(shown: Arranged, plot: Plot, row: int) -> str:
    lines = [f"<b>{for_plotly(labels_of(shown.axes[0])[row], 40)}</b>"]
    for j, name in enumerate(labels_of(shown.axes[1])):
        text = f"{for_plotly(name)}: <b>{theme.number(shown.data[row, j], 4)}</b>"
        if shown.low is not None and shown.high is not None:
            text += f" {theme.interval(shown.low[row, j], shown.high[row, j])}"
        lines.append(text)
    return "<br>".join(lines)


def _whiskers(shown: Arranged, rows: list[int], j: int, colour: str) -> dict[str, Any] | None:
    if shown.low is None or shown.high is None:
        return None
    up, down = shown.high[rows, j] - shown.data[rows, j], shown.data[rows, j] - shown.low[rows, j]
    return {"type": "data", "symmetric": False, "array": up, "arrayminus": down, "color": colour, "thickness": 0.8,
            "width": 0}  # fmt: skip


def _ranges(shown: Arranged, equal: bool) -> list[tuple[float, float]]:
    """The ends of both axes, with a margin; the same where a diagonal is to be read."""
    low, high = (shown.data if bound is None else bound for bound in (shown.low, shown.high))
    ends = []
    for part in [slice(None)] * 2 if equal else [slice(0, 1), slice(1, 2)]:
        numbers = np.concatenate([bound[:, part].ravel() for bound in (shown.data, low, high)])
        numbers = numbers[np.isfinite(numbers)]
        least, most = (float(numbers.min()), float(numbers.max())) if numbers.size else (0.0, 1.0)
        margin = 0.07 * ((most - least) or 1.0)
        ends.append((least - margin, most + margin))
    return ends


def _named(plot: Plot, names: list[str]) -> list[int]:
    wanted = plot.options.get("named", names if len(names) <= 12 else [])
    return [row for row, name in enumerate(names) if name in wanted]


def _sides(data: Any, ends: list[tuple[float, float]], names: list[str], named: list[int]) -> dict[int, str]:
    """Where each name stands, beside its point: the corner where it covers least of other points, names and edges."""
    size = np.array([theme.FIGURE_WIDTH - 110, HEIGHT - 130])
    scale = size / np.array([high - low for low, high in ends])
    points = np.nan_to_num((data - np.array([ends[0][0], ends[1][0]])) * scale)
    taken = [_box(point, (0, 0), 12.0, 12.0) for point in points]
    sides: dict[int, str] = {}
    for row in named:
        width = _LETTER * len(names[row])
        boxes = {side: _box(points[row], towards, width, _LINE) for side, towards in _SIDES.items()}
        others = [box for i, box in enumerate(taken) if i != row]
        others += [(size[0], -_FAR, _FAR, _FAR), (-_FAR, -_FAR, 0.0, _FAR)]  # outside of the plot
        room = {side: sum(_overlap(box, other) for other in others) for side, box in boxes.items()}
        sides[row] = min(room, key=lambda side: room[side])
        taken.append(boxes[sides[row]])
    return sides


def _box(point: Any, towards: tuple[int, int], width: float, height: float) -> tuple[float, float, float, float]:
    """Left, bottom, right, top of a box at one side of a point (or around it)."""
    x = point[0] + towards[0] * (5 + width / 2)
    y = point[1] + towards[1] * (4 + height / 2)
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> float:
    """The area that two boxes share."""
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def _add_diagonal(figure: Any, plot: Plot, ends: list[tuple[float, float]]) -> None:
    if not plot.options.get("diagonal"):
        return
    (low, high), _ = ends
    line = {"color": theme.MUTED, "width": 1.2, "dash": "dash"}
    figure.add_shape(type="line", x0=low, y0=low, x1=high, y1=high, line=line, layer="below")
    figure.add_annotation(
        x=high, y=high, text=for_plotly(plot.options["diagonal"]), showarrow=False, xanchor="right", xshift=-34,
        yshift=-6, font={"size": 11, "color": theme.MUTED},
    )  # fmt: skip


def _lay_out(
    figure: Any, plot: Plot, coordinates: list[str | int], unit: str, ends: list[tuple[float, float]], n_families: int
) -> None:
    zero = {"zeroline": True, "zerolinecolor": "#c3cad2", "zerolinewidth": 1}
    unit = f" ({unit})" if unit else ""
    figure.update_xaxes(title={"text": for_plotly(f"{coordinates[0]}{unit}")}, range=list(ends[0]), **zero)
    if plot.options.get("log_x"):
        figure.update_xaxes(**log_ticks(10**end for end in ends[0]))
    figure.update_yaxes(title={"text": for_plotly(f"{coordinates[1]}{unit}")}, range=list(ends[1]), **zero)
    top = 30 + (22 if plot.title else 0) + (26 if n_families > 1 else 0)
    figure.update_layout(
        template=theme.template(),
        title=title(plot),
        height=HEIGHT,
        margin={"t": top},
        showlegend=n_families > 1,
        hovermode="closest",
    )
