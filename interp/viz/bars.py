"""Bars with error bars: one group of bars per label of the series."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from interp.viz import theme
from interp.viz.arranging import Arranged, Ticks, arrange, labels_of, title_of, x_ticks, y_ticks
from interp.viz.framing import hover, name_of, title, unit_of
from interp.viz.reference_lines import add_references, reference_room
from interp.viz.text import for_plotly

if TYPE_CHECKING:
    from interp.results import Plot, Result


def bars(result: Result, plot: Plot) -> Any:
    """The plot as a plotly figure: a bar per label of `x`, grouped by `series`, whiskers from `low` to `high`.

    Long or many labels lie on their side. Options: horizontal (True, False), zero_centred (colours by sign when there
    is no series), references ({name: value}; upright bars only), y_label, x_label, n_most (only the n largest
    |values|, sorted).
    """
    shown = arrange(result, plot, [plot.series, plot.x])
    if "n_most" in plot.options:
        shown = _largest(shown, int(plot.options["n_most"]))
    labels = labels_of(shown.axes[1])
    lying = plot.options.get("horizontal", _too_long(labels))
    figure = _draw(shown, plot, lying)
    n_bars, n_series = len(labels), shown.data.shape[0]
    height = max(200, 26 + n_bars * (8 + 14 * n_series)) + 60 if lying else 360
    room = height - 90 if lying else theme.FIGURE_WIDTH - 110 - reference_room(plot)
    ticks = y_ticks(labels, room, limit=46) if lying else x_ticks(labels, room)
    _lay_out(figure, shown, plot, ticks, lying, height)
    return figure


def _largest(shown: Arranged, n: int) -> Arranged:
    """The `n` positions of the second axis with the largest |value| in any series, largest first."""
    from interp.results import Axis

    axis = shown.axes[1]
    strength = np.nan_to_num(np.abs(shown.data)).max(axis=0)
    keep = np.argsort(-strength, kind="stable")[:n]
    if axis is not None:
        axis = Axis(axis.name, tuple(axis.labels[i] for i in keep))
    low, high = (None if bound is None else bound[:, keep] for bound in (shown.low, shown.high))
    return Arranged(shown.data[:, keep], (shown.axes[0], axis), low, high, shown.unit)


def _too_long(labels: list[str | int]) -> bool:
    longest = max(len(str(label)) for label in labels)
    return longest > 4 and len(labels) * (longest * 7.5 + 6) > theme.FIGURE_WIDTH - 110


def _draw(shown: Arranged, plot: Plot, lying: bool) -> Any:
    import plotly.graph_objects as go

    figure = go.Figure()
    for i, name in enumerate(labels_of(shown.axes[0])):
        values, places = shown.data[i], list(range(shown.data.shape[1]))
        whiskers = _whiskers(shown, i)
        figure.add_trace(
            go.Bar(
                x=values if lying else places,
                y=places if lying else values,
                orientation="h" if lying else "v",
                name=name_of(shown.axes[0], name),
                marker={"color": _colours(shown, plot, i), "line": {"width": 0}},
                error_x=whiskers if lying else None,
                error_y=None if lying else whiskers,
                hovertext=[hover(shown, plot, i, j) for j in places],
                hoverinfo="text",
                textposition="none",
            )
        )
    return figure


def _colours(shown: Arranged, plot: Plot, i: int) -> Any:
    if shown.data.shape[0] == 1 and plot.options.get("zero_centred"):
        return [theme.POSITIVE if value >= 0 else theme.NEGATIVE for value in shown.data[i]]
    return theme.CATEGORIES[i % len(theme.CATEGORIES)]


def _whiskers(shown: Arranged, i: int) -> dict[str, Any] | None:
    if shown.low is None or shown.high is None:
        return None
    up, down = shown.high[i] - shown.data[i], shown.data[i] - shown.low[i]
    return {
        "type": "data",
        "symmetric": False,
        "array": up,
        "arrayminus": down,
        "color": theme.INK,
        "thickness": 1.2,
        "width": 3,
    }


def _lay_out(figure: Any, shown: Arranged, plot: Plot, ticks: Ticks, lying: bool, height: int) -> None:
    n_series, n_bars = shown.data.shape
    of_labels = ticks.axis(plot.options.get("x_label", title_of(shown.axes[1])))
    of_values = {
        "title": {"text": for_plotly(plot.options["y_label"]) if "y_label" in plot.options else unit_of(shown, plot)}
    }
    zero = {"zeroline": True, "zerolinecolor": "#7b8794", "zerolinewidth": 1}
    if lying:
        figure.update_yaxes(**of_labels, showgrid=False, range=[n_bars - 0.5, -0.5])
        figure.update_xaxes(**of_values, **zero)
    else:
        figure.update_xaxes(**of_labels, showgrid=False, range=[-0.6, n_bars - 0.4])
        figure.update_yaxes(**of_values, **zero)
    top = 26 + (22 if plot.title else 0) + (26 if n_series > 1 else 0)
    figure.update_layout(
        template=theme.template(),
        title=title(plot),
        height=height,
        margin={"t": top},
        showlegend=n_series > 1,
        barmode="group",
    )
    if not lying:
        add_references(figure, plot)
