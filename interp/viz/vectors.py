"""Vectors in the plane: arrows from the origin, small multiples with the same scale."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from interp.errors import InputError
from interp.viz import theme
from interp.viz.arranging import Arranged, arrange, labels_of, numeric, title_of
from interp.viz.framing import name_of, title
from interp.viz.panels import Panels, x_axis_of
from interp.viz.text import for_plotly

if TYPE_CHECKING:
    from interp.results import Axis, Plot, Result

PANEL, GAP = 190.0, 40.0
"""Pixels of the largest panel, and between rows of them (for their titles)."""


def vectors(result: Result, plot: Plot) -> Any:
    """The plot as a plotly figure: `x` names the axis with the two coordinates, one panel for each label of `series`.

    The axis that is left holds the vectors. Options: across (panels in a row), families ({label of a vector: family}, a
    colour each; default: a colour a vector, or one colour where there are many). Raises InputError unless
    there are two coordinates.
    """
    shown = arrange(result, plot, [plot.series, plot.y, plot.x])
    n_panels, _, n_coordinates = shown.data.shape
    if n_coordinates != 2:
        raise InputError(f"vectors are drawn in the plane, and the axis {plot.x!r} has {n_coordinates} labels, not 2")
    across = int(plot.options.get("across") or math.ceil(n_panels / math.ceil(n_panels / 5)))
    size = min(PANEL * 1.6 if n_panels == 1 else PANEL, (theme.FIGURE_WIDTH - 60) / across - 24)
    panels = Panels([_panel(shown.axes[0], label) for label in labels_of(shown.axes[0])], across, size, GAP, 0.02)
    figure = panels.figure()
    reach = 1.12 * max(1.0, float(np.nanmax(np.linalg.norm(np.nan_to_num(shown.data), axis=-1))))
    for panel in range(n_panels):
        where = panels.where(panel)
        _add_circle(figure, where)
        for trace in _arrows(shown, plot, panel):
            figure.add_trace(trace, **where)
        _set_axes(figure, panel, reach, where)
    top = 14 + panels.headroom(plot)
    figure.update_layout(
        template=theme.template(),
        title=title(plot),
        height=int(panels.drawn + top + 14),
        margin={"t": top, "b": 14, "l": 12, "r": 12},
        showlegend=False,
    )
    return figure


def _panel(axis: Axis | None, label: str | int) -> str:
    """What a panel is called: a number, also written as text, has the name of its axis before it."""
    bare = numeric([label]) is not None
    return name_of(None, f"{title_of(axis)} {label}") if bare else name_of(axis, label)


def _arrows(shown: Arranged, plot: Plot, panel: int) -> list[Any]:
    """A line and its end for each vector; NaN and vectors of length 0 leave a point at the origin."""
    import plotly.graph_objects as go

    traces = []
    for i, label in enumerate(labels_of(shown.axes[1])):
        x, y = shown.data[panel, i]
        colour = _colour(plot, shown, i, label)
        words = f"{for_plotly(title_of(shown.axes[1]))} <b>{for_plotly(label)}</b>"
        words += f"<br>({theme.number(x)}, {theme.number(y)}), length {theme.number(math.hypot(x, y))}"
        traces.append(
            go.Scatter(
                x=[0, x],
                y=[0, y],
                mode="lines+markers",
                line={"color": colour, "width": 2},
                marker={"size": [0, 7], "color": colour, "opacity": 1, "line": {"width": 0}},
                hovertext=["", words],
                hoverinfo="text",
            )
        )
    return traces


def _colour(plot: Plot, shown: Arranged, i: int, label: str | int) -> str:
    families = plot.options.get("families", {})
    if families:
        return theme.CATEGORIES[
            list(dict.fromkeys(families.values())).index(families[str(label)]) % len(theme.CATEGORIES)
        ]
    return theme.CATEGORIES[i if shown.data.shape[1] <= len(theme.CATEGORIES) else 0]


def _add_circle(figure: Any, where: dict[str, int]) -> None:
    line = {"color": theme.GRID, "width": 1.2}
    figure.add_shape(type="circle", x0=-1, y0=-1, x1=1, y1=1, line=line, layer="below", **where)


def _set_axes(figure: Any, panel: int, reach: float, where: dict[str, int]) -> None:
    """No ticks, since only angles and lengths matter; the circle says what 1 is."""
    plain = {"range": [-reach, reach], "showticklabels": False, "ticks": "", "showgrid": False, "zeroline": True}
    plain |= {"zerolinecolor": theme.GRID, "zerolinewidth": 1, "showline": False}
    figure.update_xaxes(**plain, constrain="domain", **where)
    figure.update_yaxes(**plain, scaleanchor=x_axis_of(panel), constrain="domain", **where)
