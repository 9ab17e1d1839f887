"""Heatmaps: one matrix, or small multiples that share one colour scale."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from interp.errors import InputError, unknown
from interp.viz import theme
from interp.viz.arranging import Arranged, Array, arrange, labels_of, title_of, x_ticks, y_ticks
from interp.viz.framing import hover, name_of, title, unit_of
from interp.viz.panels import Panels
from interp.viz.shades import clipped_ticks, readable
from interp.viz.text import dotted, for_plotly

if TYPE_CHECKING:
    from interp.results import Plot, Result

# Above this many cells every cell's own hover text would make the page heavy: hovering then shows indices.
MAX_HOVER_CELLS = 8000


@dataclass(frozen=True)
class _Grid:
    """Where facets stand, pixels of a cell from left to right, and the labels."""

    panels: Panels
    cell_width: float
    x: Ticks
    y: Ticks


def heatmap(result: Result, plot: Plot) -> Any:
    """The plot as a plotly figure: `y` down, `x` across, one facet per label of `series`.

    Options: zero_centred (diverging colours, as far on one side of 0 as on the other), colour_label, colour_range
    (low, high), colour_limit (the |value| beyond which all colours are the same), origin ("upper" or "lower": where the
    first row is), cell_text (name of an entry of `result.texts` with a string per cell, drawn inside the cells),
    show_spaces (a dot for each space of a cell's text), square (cells as high as wide), across (facets in
    a row), x_label, y_label.
    """
    shown = arrange(result, plot, [plot.series, plot.y, plot.x] if plot.series else [plot.y, plot.x])
    if not plot.series:
        shown = _one_facet(shown)
    return draw(shown, plot, cell_text=_cell_text(result, plot, shown))


def draw(shown: Arranged, plot: Plot, cell_text: Array | None = None) -> Any:
    """Draw [facet, row, column] arrays; `cell_text` has the same shape."""
    grid = _grid(shown, plot, written=cell_text is not None)
    figure = grid.panels.figure()
    per_cell = shown.data.size <= MAX_HOVER_CELLS
    for i in range(len(shown.data)):
        where = grid.panels.where(i)
        figure.add_trace(_trace(shown, plot, i, grid, per_cell, cell_text), **where)
        _set_axes(figure, shown, plot, grid, i, where)
    _frame(figure, shown, plot, grid)
    return figure


def _one_facet(shown: Arranged) -> Arranged:
    low, high, places = (None if part is None else part[None] for part in (shown.low, shown.high, shown.places))
    return Arranged(shown.data[None], (None, *shown.axes), low, high, shown.unit, places)


def _grid(shown: Arranged, plot: Plot, written: bool) -> _Grid:
    n_facets, n_rows, n_columns = shown.data.shape
    across = plot.options.get("across") or _columns(n_facets, n_columns)
    cell_width = (theme.FIGURE_WIDTH - 170 - 26 * (across - 1)) / across / n_columns
    height = _panel_height(n_rows, cell_width, n_facets, bool(plot.options.get("square")), written)
    # The name of the rows stands beside them and must not reach into the title of a figure of one row.
    height = max(height, min(170.0, 7.2 * len(plot.options.get("y_label", title_of(shown.axes[1])))))
    x = x_ticks(labels_of(shown.axes[2]), cell_width * n_columns)
    y = y_ticks(labels_of(shown.axes[1]), height)
    names = [name_of(shown.axes[0], label) for label in labels_of(shown.axes[0])]
    return _Grid(Panels(names, across, height, 36.0, 0.035), cell_width, x, y)


def _set_axes(figure: Any, shown: Arranged, plot: Plot, grid: _Grid, i: int, where: dict[str, int]) -> None:
    """Facets share their labels: the lowest of each column has those below, the first of each row those beside."""
    n_facets, n_rows, n_columns = shown.data.shape
    lowest, first = i + grid.panels.across >= n_facets, where["col"] == 1
    x_title = plot.options.get("x_label", title_of(shown.axes[2])) if lowest else ""
    y_title = plot.options.get("y_label", title_of(shown.axes[1])) if first else ""
    y_range = [-0.5, n_rows - 0.5] if plot.options.get("origin") == "lower" else [n_rows - 0.5, -0.5]
    plain = {"showgrid": False, "matches": None}
    figure.update_xaxes(**grid.x.axis(x_title), **plain, range=[-0.5, n_columns - 0.5], showticklabels=lowest, **where)
    figure.update_yaxes(**grid.y.axis(y_title), **plain, range=y_range, showticklabels=first, **where)


def _frame(figure: Any, shown: Arranged, plot: Plot, grid: _Grid) -> None:
    drawn, bottom = grid.panels.drawn, grid.x.height
    bar = max(drawn, 130.0)  # a shorter colour bar has no room for its label
    top = 16 + grid.panels.headroom(plot)
    # Plotly sets a colour bar's own title over its longest numbers; a label beside it keeps its distance.
    figure.add_annotation(
        text=unit_of(shown, plot) if plot.options.get("colour_label") or shown.unit else "",
        x=1,
        y=1,
        yshift=-bar / 2,
        xref="paper",
        yref="paper",
        xanchor="left",
        yanchor="middle",
        xshift=66,
        textangle=90,
        showarrow=False,
    )
    figure.update_layout(
        template=theme.template(),
        title=title(plot),
        height=int(max(drawn + bottom, bar + 12) + top),
        margin={"t": top, "b": max(bottom, bar + 12 - drawn), "r": 96},
        plot_bgcolor=theme.MISSING,
        coloraxis=_colour_axis(shown, plot, bar),
    )


def _columns(n_facets: int, n_columns: int) -> int:
    """Facets per row: as many as leave a cell about 12 pixels, and no lonely last one."""
    fit = max(1, min(n_facets, 5, int((theme.FIGURE_WIDTH - 170) / max(110, 12 * n_columns))))
    if n_facets <= fit:
        return n_facets
    rows = math.ceil(n_facets / fit)
    return math.ceil(n_facets / rows)


def _panel_height(n_rows: int, cell_width: float, n_facets: int, square: bool, written: bool) -> float:
    if square:
        return max(90.0, min(cell_width * n_rows, 640.0))
    most = 28.0 if n_rows <= 16 else 17.0
    cell = min(most, max(cell_width, 17.0)) if n_facets == 1 or n_rows <= 12 else max(9.0, min(17.0, cell_width))
    if written:
        cell = max(cell, 22.0)
    return max(60.0, min(cell * n_rows, 900.0))


def _trace(shown: Arranged, plot: Plot, facet: int, grid: _Grid, per_cell: bool, cell_text: Array | None) -> Any:
    import plotly.graph_objects as go

    _, n_rows, n_columns = shown.data.shape
    settings: dict[str, Any]
    if per_cell:
        settings = {
            "hovertext": [[hover(shown, plot, facet, i, j) for j in range(n_columns)] for i in range(n_rows)],
            "hoverinfo": "text",
        }
    else:
        rows, columns = title_of(shown.axes[1]), title_of(shown.axes[2])
        settings = {"hovertemplate": f"{rows} %{{y}}<br>{columns} %{{x}}<br>%{{z:.3g}}<extra></extra>"}
    if cell_text is not None:
        written = readable(cell_text[facet], shown.data[facet], *_colours(shown, plot))
        font = {"size": 11, "color": theme.INK}
        settings |= {"text": written.tolist(), "texttemplate": "%{text}", "textfont": font}
    gaps = {"xgap": int(grid.cell_width > 5), "ygap": int(grid.panels.height / n_rows > 5)}
    return go.Heatmap(z=shown.data[facet].astype(np.float32), coloraxis="coloraxis", **gaps, **settings)


def _colour_axis(shown: Arranged, plot: Plot, length: float) -> dict[str, Any]:
    scale, low, high = _colours(shown, plot)
    bar: dict[str, Any] = {"len": length, "lenmode": "pixels", "y": 1, "yanchor": "top", "x": 1, "xpad": 12, "ypad": 0}
    slack = 1e-6 * (high - low)
    below, above = (bool((side > slack).any()) for side in (low - shown.data, shown.data - high))
    if below or above:
        bar |= clipped_ticks(low, high, below, above)
    return {"colorscale": scale, "cmin": low, "cmax": high, "colorbar": bar}


def _colours(shown: Arranged, plot: Plot) -> tuple[list[list[Any]], float, float]:
    """The colour scale, and the numbers at its ends."""
    finite = shown.data[np.isfinite(shown.data)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    scale: list[list[Any]] = theme.SEQUENTIAL
    if plot.options.get("zero_centred"):
        limit = float(plot.options.get("colour_limit") or max(abs(low), abs(high)) or 1.0)
        scale, low, high = theme.DIVERGING, -limit, limit
    if "colour_range" in plot.options:
        low, high = (float(bound) for bound in plot.options["colour_range"])
    if low == high:
        low, high = low - 0.5, high + 0.5
    return scale, low, high


def _cell_text(result: Result, plot: Plot, shown: Arranged) -> Array | None:
    """The strings inside the cells, in drawing order."""
    name = plot.options.get("cell_text")
    if name is None or shown.places is None:
        return None
    if name not in result.texts:
        raise unknown("text for the cells", name, result.texts)
    texts = np.array(result.texts[name], dtype=object).ravel()
    if texts.size != shown.places.size:
        raise InputError(f"cell_text {name!r} has {texts.size} strings, the heatmap {shown.places.size} cells")
    told = (lambda text: dotted(str(text))) if plot.options.get("show_spaces") else (lambda text: text)
    return np.vectorize(lambda place: for_plotly(told(texts[place]), 12), otypes=[object])(shown.places)
