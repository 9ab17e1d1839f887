"""Spectra in the complex plane: one panel a matrix, a point an eigenvalue.

A spectrum of weights has a few large eigenvalues and many small ones, so the radius grows as the square root of the
size; the angle, which says whether an eigenvalue is positive (right), negative (left) or a rotation, is kept. Rings
mark 1, 1/4 and 1/16 of the largest size. After the figures of Elhage et al. 2021, "A Mathematical Framework for
Transformer Circuits".
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from interp.errors import InputError
from interp.viz import theme
from interp.viz.arranging import Array, arrange, as_array, labels_of
from interp.viz.framing import name_of, title
from interp.viz.panels import Panels, x_axis_of

if TYPE_CHECKING:
    from interp.results import Plot, Result

RINGS = (1.0, 1 / 4, 1 / 16)
PANEL, GAP, REACH = 230.0, 34.0, 1.1
"""Pixels of the largest panel and between rows of them; how far a panel reaches beyond the largest ring."""


def complex_plane(result: Result, plot: Plot) -> Any:
    """The plot as a plotly figure: `x` names the axis of real and imaginary part, one panel for each label of `series`.

    The axis that is left holds the eigenvalues. Every panel has the scale of its own largest eigenvalue. Options:
    behind (name of other values with the same axes, drawn in grey on their own scale: a control). Raises InputError
    unless the numbers have two parts.
    """
    shown = arrange(result, plot, [plot.series, plot.y, plot.x])
    n_panels, _, n_parts = shown.data.shape
    if n_parts != 2:
        raise InputError(f"a complex number has two parts, and the axis {plot.x!r} has {n_parts} labels")
    across = math.ceil(n_panels / math.ceil(n_panels / 4))
    size = min(PANEL * (1.4 if n_panels == 1 else 1.0), (theme.FIGURE_WIDTH - 60) / across - 20)
    names = [name_of(shown.axes[0], label, 34) for label in labels_of(shown.axes[0])]
    panels = Panels(names, across, size, GAP, 0.03)
    figure = panels.figure()
    behind = _behind(result, plot)
    for panel in range(n_panels):
        where = panels.where(panel)
        for ring in RINGS:
            figure.add_trace(_ring(math.sqrt(ring)), **where)
        if behind is not None:
            figure.add_trace(_points(behind[panel], "#aeb7c0", 4.5, "control"), **where)
        figure.add_trace(_points(shown.data[panel], theme.POSITIVE, 6.5, ""), **where)
        _set_axes(figure, panel, where)
    top = 16 + panels.headroom(plot)
    figure.update_layout(
        template=theme.template(),
        title=title(plot),
        height=int(panels.drawn + top + 12),
        margin={"t": top, "b": 12, "l": 12, "r": 12},
        showlegend=False,
        hovermode="closest",
    )
    return figure


def _behind(result: Result, plot: Plot) -> Array | None:
    """The control, arranged as the values are."""
    name = plot.options.get("behind")
    if name is None:
        return None
    if name not in result.values or result.values[name].axes != result.values[plot.values].axes:
        raise InputError(f"behind={name!r} names no values with the axes of {plot.values!r}")
    places = arrange(result, plot, [plot.series, plot.y, plot.x]).places
    assert places is not None
    return as_array(result.values[name]).ravel()[places]


def _points(parts: Array, colour: str, size: float, what: str) -> Any:
    import plotly.graph_objects as go

    sizes = np.linalg.norm(parts, axis=-1)
    largest = float(np.nanmax(sizes)) or 1.0
    # r -> sqrt(r), the angle as it is.
    pulled = parts / np.sqrt(np.maximum(sizes, 1e-30) * largest)[:, None]
    texts = [
        f"{what + ' ' if what else ''}{theme.number(real, 3)} {'+' if above >= 0 else '−'} "
        f"{theme.number(abs(above), 3)}i<br>size {theme.number(length, 3)}"
        for (real, above), length in zip(parts, sizes, strict=True)
    ]
    return go.Scatter(
        x=np.round(pulled[:, 0], 4),
        y=np.round(pulled[:, 1], 4),
        mode="markers",
        marker={"color": colour, "size": size, "opacity": 0.85 if not what else 0.6},
        hovertext=texts,
        hoverinfo="text",
    )


def _ring(radius: float) -> Any:
    import plotly.graph_objects as go

    turn = np.linspace(0, 2 * math.pi, 73)
    line = {"color": theme.GRID, "width": 1}
    x, y = np.round(radius * np.cos(turn), 4), np.round(radius * np.sin(turn), 4)
    return go.Scatter(x=x, y=y, mode="lines", line=line, hoverinfo="skip")


def _set_axes(figure: Any, panel: int, where: dict[str, int]) -> None:
    plain = {"range": [-REACH, REACH], "showgrid": False, "showticklabels": False, "ticks": "", "showline": False}
    zero = {"zeroline": True, "zerolinecolor": "#c3cad2", "zerolinewidth": 1, "matches": None, "constrain": "domain"}
    figure.update_xaxes(**plain, **zero, **where)
    figure.update_yaxes(**plain, **zero, scaleanchor=x_axis_of(panel), scaleratio=1, **where)
