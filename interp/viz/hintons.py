"""Hinton diagrams: a matrix as squares whose area is the size of each weight and whose colour is its sign.

What a heatmap spreads over all cells a Hinton diagram puts into the few that are large (Hinton & Shallice 1991; Bremner
et al. 1994). Squares are drawn in the units of the axes, so they grow when one zooms in.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from interp.viz import theme
from interp.viz.arranging import Arranged, Array, arrange, labels_of, title_of, x_ticks, y_ticks
from interp.viz.framing import hover, name_of, title, unit_of
from interp.viz.panels import Panels, x_axis_of

if TYPE_CHECKING:
    from interp.results import Plot, Result

LARGEST = 0.94
"""Side of the largest square, in cells."""
SMALLEST = 0.04
"""Squares of a smaller side are not drawn."""
CELL, TALLEST, GAP = 26.0, 760.0, 90.0
"""Pixels of the largest cell and panel, and between rows of panels (for their ticks and names)."""


def hinton(result: Result, plot: Plot) -> Any:
    """The plot as a plotly figure: `y` down, `x` across, one panel for each label of `series`.

    The largest |value| fills its cell. Options: own_scale (of each panel its own largest value), x_label, y_label,
    colour_label (what the numbers are, when one points at a cell).
    """
    shown = arrange(result, plot, [plot.series, plot.y, plot.x])
    n_panels, n_rows, n_columns = shown.data.shape
    across = max(1, min(n_panels, int((theme.FIGURE_WIDTH - 130) / max(150.0, 11.0 * n_columns))))
    cell = min(CELL, (theme.FIGURE_WIDTH - 130 - 60 * (across - 1)) / across / n_columns, TALLEST / n_rows)
    names = [name_of(shown.axes[0], label) for label in labels_of(shown.axes[0])]
    panels = Panels(names, across, cell * n_rows, GAP, 0.09)
    figure = panels.figure()
    sizes = np.nan_to_num(np.abs(shown.data))
    for panel in range(n_panels):
        where = panels.where(panel)
        largest = float((sizes[panel] if plot.options.get("own_scale") else sizes).max()) or 1.0
        for trace in (_hover_cells(shown, plot, panel), *_squares(shown.data[panel], largest)):
            figure.add_trace(trace, **where)
        _set_axes(figure, shown, plot, cell, panel, where)
    _frame(figure, shown, plot, panels, cell)
    return figure


def _squares(matrix: Array, largest: float) -> list[Any]:
    """One filled outline for all positive squares, one for all negative ones."""
    import plotly.graph_objects as go

    traces = []
    for sign, colour in ((1, theme.POSITIVE), (-1, theme.NEGATIVE)):
        x: list[float | None] = []
        y: list[float | None] = []
        for row, column in np.argwhere(np.nan_to_num(matrix) * sign > 0):
            half = LARGEST / 2 * math.sqrt(min(abs(matrix[row, column]) / largest, 1.0))
            if 2 * half >= SMALLEST:
                x += [column - half, column + half, column + half, column - half, column - half, None]
                y += [row - half, row - half, row + half, row + half, row - half, None]
        traces.append(
            go.Scatter(
                x=_rounded(x), y=_rounded(y), mode="lines", fill="toself", fillcolor=colour, line={"width": 0},
                hoverinfo="skip",
            )
        )  # fmt: skip
    return traces


def _rounded(numbers: list[float | None]) -> list[float | None]:
    return [None if number is None else round(float(number), 3) for number in numbers]


def _hover_cells(shown: Arranged, plot: Plot, panel: int) -> Any:
    """The background, which says the number under the pointer."""
    import plotly.graph_objects as go

    _, n_rows, n_columns = shown.data.shape
    return go.Heatmap(
        z=np.zeros((n_rows, n_columns)).tolist(),
        colorscale=[[0, "#f3f5f7"], [1, "#f3f5f7"]],
        showscale=False,
        xgap=1,
        ygap=1,
        hovertext=[[hover(shown, plot, panel, i, j) for j in range(n_columns)] for i in range(n_rows)],
        hoverinfo="text",
    )


def _set_axes(figure: Any, shown: Arranged, plot: Plot, cell: float, panel: int, where: dict[str, int]) -> None:
    _, n_rows, n_columns = shown.data.shape
    first = where["col"] == 1
    x_title = plot.options.get("x_label", title_of(shown.axes[2]))
    y_title = plot.options.get("y_label", title_of(shown.axes[1])) if first else ""
    x, y = x_ticks(labels_of(shown.axes[2]), cell * n_columns), y_ticks(labels_of(shown.axes[1]), cell * n_rows)
    plain = {"showgrid": False, "zeroline": False, "matches": None, "constrain": "domain"}
    figure.update_xaxes(**x.axis(x_title), **plain, range=[-0.5, n_columns - 0.5], **where)
    figure.update_yaxes(**y.axis(y_title), **plain, range=[n_rows - 0.5, -0.5], **where)
    # Cells stay square whatever the width of the page.
    figure.update_yaxes(scaleanchor=x_axis_of(panel), scaleratio=1, **where)


def _frame(figure: Any, shown: Arranged, plot: Plot, panels: Panels, cell: float) -> None:
    bottom = x_ticks(labels_of(shown.axes[2]), cell * shown.data.shape[2]).height
    top = 16 + panels.headroom(plot)
    sizes = np.nan_to_num(np.abs(shown.data))
    each = [theme.number(float(panel.max())) for panel in sizes]
    largest = ", ".join(each) if plot.options.get("own_scale") else theme.number(float(sizes.max()))
    text = f"blue: positive, orange: negative; area: size, the largest square {largest} ({unit_of(shown, plot)})"
    figure.add_annotation(
        text=text, x=0, y=0, xref="x domain", yref="paper", xanchor="left", yanchor="top", yshift=-bottom + 4,
        showarrow=False, font={"size": 11, "color": theme.MUTED},
    )  # fmt: skip
    figure.update_layout(
        template=theme.template(),
        title=title(plot),
        height=int(panels.drawn + bottom + top + 22),
        margin={"t": top, "b": bottom + 22, "r": 24},
        showlegend=False,
        plot_bgcolor="white",
    )
