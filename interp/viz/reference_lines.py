"""Dashed lines at numbers that have a name, such as chance: named outside the plot, where no line or band runs."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from interp.viz import theme
from interp.viz.text import for_plotly

if TYPE_CHECKING:
    from interp.results import Plot

_STYLE = {"color": theme.MUTED, "width": 1.2, "dash": "dash"}
_NAME_WIDTH = 15
"""Characters of a line of a name."""
_LINE, _LETTER = 14.0, 6.2
"""Pixels of such a line, and of a letter."""


def add_references(figure: Any, plot: Plot, place: Callable[[float], float] = float, *, listed: bool = False) -> None:
    """The dashed horizontal lines of the option `references`, named at their right outside the plot, and the zero line.

    To be called when the figure's size and margins are set. place: where a number stands on the vertical axis. listed:
    name them in the legend instead, where that stands at the right.
    """
    named = {str(name): float(value) for name, value in plot.options.get("references", {}).items()}
    for value in named.values():
        figure.add_hline(y=place(value), line=_STYLE)
    if named and listed:
        _list(figure, named)
    elif named:
        _name_beside(figure, plot, {name: (value, place(value)) for name, value in named.items()})
    if plot.options.get("zero_line") or plot.options.get("zero_centred"):
        figure.add_hline(y=0, line={"color": "#7b8794", "width": 1}, layer="below")


def reference_room(plot: Plot) -> int:
    """Pixels at the right that the names of reference lines take."""
    lines = [line for name, value in plot.options.get("references", {}).items() for line in _lines(name, float(value))]
    return 16 + int(_LETTER * max(map(len, lines))) if lines else 0


def _lines(name: str, value: float) -> list[str]:
    return [*textwrap.wrap(name, _NAME_WIDTH), theme.number(value)]


def _list(figure: Any, named: dict[str, float]) -> None:
    import plotly.graph_objects as go

    for name, value in named.items():
        label = for_plotly(f"{name} {theme.number(value)}")
        figure.add_trace(go.Scatter(x=[None], y=[None], mode="lines", line=_STYLE, name=label, hoverinfo="skip"))


def _name_beside(figure: Any, plot: Plot, named: dict[str, tuple[float, float]]) -> None:
    """Names beside the ends of their lines, moved apart where lines are near each other."""
    log = bool(plot.options.get("log_y"))
    places = {name: math.log10(place) if log else place for name, (_, place) in named.items()}
    low, high = _drawn(figure, log)
    low, high = min(low, *places.values()), max(high, *places.values())
    layout, frame = figure.layout, theme.template().layout.margin
    margin = layout.margin
    top, bottom = (frame[end] if margin[end] is None else margin[end] for end in ("t", "b"))
    a_unit = (layout.height - top - bottom) / (1.1 * (high - low) or 1)
    lowest = -math.inf
    for name in sorted(places, key=lambda name: places[name]):
        lines = _lines(name, named[name][0])
        wanted = places[name] * a_unit
        middle = max(wanted, lowest + _LINE * len(lines) / 2)
        lowest = middle + _LINE * len(lines) / 2
        figure.add_annotation(
            text="<br>".join(for_plotly(line) for line in lines),
            xref="paper",
            x=1,
            xanchor="left",
            xshift=6,
            y=places[name],
            yanchor="middle",
            yshift=middle - wanted,
            align="left",
            showarrow=False,
            font={"size": 11, "color": theme.MUTED},
        )
    figure.update_layout(margin_r=reference_room(plot))


def _drawn(figure: Any, log: bool) -> tuple[float, float]:
    """The least and the largest number that is drawn upwards."""
    if figure.layout.yaxis.range is not None:
        low, high = figure.layout.yaxis.range
        return float(low), float(high)
    found = np.concatenate([np.asarray(trace.y, dtype=float).ravel() for trace in figure.data if trace.y is not None])
    found = np.log10(found[found > 0]) if log else found
    found = found[np.isfinite(found)]
    return (float(found.min()), float(found.max())) if len(found) else (math.inf, -math.inf)
