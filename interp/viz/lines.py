"""Lines with interval bands: one line per label of the series."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from interp.viz import theme
from interp.viz.arranging import Arranged, arrange, labels_of, numeric, title_of, x_ticks
from interp.viz.framing import hover, name_of, title, unit_of
from interp.viz.overlaps import covering, marker_size, stripes
from interp.viz.reference_lines import add_references, reference_room
from interp.viz.scales import log_ticks, number_ticks, root_ticks, rooted, with_roots
from interp.viz.text import for_plotly

if TYPE_CHECKING:
    from interp.results import Plot, Result

SINGLE = 8
"""Pixels of a marker where every line is a single point."""


def lines(result: Result, plot: Plot) -> Any:
    """The plot as a plotly figure: `x` across, one line per label of `series`, a band from `low` to `high`.

    Numbers on the x axis keep their distances; other labels stand evenly. Options: log_x, log_y, zero_line, references
    ({name: value}, dashed horizontal lines such as chance or the clean run), x_label, y_label, y_range (low, high),
    y_scale ("root": square roots upwards, so that small numbers are seen beside large ones; the axis says so). Lines
    that run over each other take turns in colour, and their markers stand within each other. A point without
    neighbours has a bar in place of a band; where there is one label on the x axis, the points stand side by side.
    """
    import plotly.graph_objects as go

    shown = arrange(result, plot, [plot.series, plot.x])
    labels = labels_of(shown.axes[1])
    numbers = numeric(labels)
    x = numbers if numbers is not None else [float(i) for i in range(len(labels))]
    alone = len(x) == 1 and not plot.options.get("log_x")
    drawn = with_roots(shown) if _is_rooted(plot) else shown
    looks = [("solid", SINGLE)] * len(drawn.data) if alone else _looks(drawn, plot)
    figure = go.Figure()
    for i, name in enumerate(labels_of(shown.axes[0])):
        across = [x[0] + _beside(i, len(drawn.data))] if alone else x
        single = _add_band(figure, drawn, i, across)
        hovers = [hover(shown, plot, i, j) for j in range(len(x))]
        _add_line(figure, drawn.data[i], i, name_of(shown.axes[0], name), across, hovers, looks[i])
        _add_bars(figure, drawn, i, across, single)
    _lay_out(figure, shown, plot, labels, numbers)
    if alone:
        figure.update_xaxes(range=[x[0] - 0.5, x[0] + 0.5])
    add_references(figure, plot, rooted if _is_rooted(plot) else float, listed=_is_listed(shown))
    return figure


def _beside(i: int, n: int) -> float:
    """How far from the middle a point stands among `n` at the only place of the x axis, which is 1 wide."""
    return min(0.1, 0.6 / n) * (i - (n - 1) / 2)


def _is_rooted(plot: Plot) -> bool:
    return plot.options.get("y_scale") == "root"


def _is_listed(shown: Arranged) -> bool:
    """Whether there are so many lines that their names stand at the right, one below the other."""
    return len(shown.data) > len(theme.CATEGORIES)


def _looks(drawn: Arranged, plot: Plot) -> list[tuple[str, int]]:
    """Dash and size of markers of each line."""
    parts = [part for part in (drawn.data, drawn.low, drawn.high) if part is not None]
    if plot.options.get("log_y"):
        parts = [np.log10(np.where(part > 0, part, np.nan)) for part in parts]
    low, high = plot.options.get("y_range") or _ends(parts)
    places = covering(parts[0], float(high) - float(low))
    found = []
    for i, (place, n) in enumerate(places):
        again = i // len(theme.CATEGORIES)  # the colours are used again, and dashes tell which time it is
        dash = theme.DASHES[again % len(theme.DASHES)] if again else stripes(place, n)
        found.append((dash, marker_size(place, n)))
    return found


def _ends(parts: list[Any]) -> tuple[float, float]:
    """The least and the largest of the numbers; 0 and 0 where there is none."""
    numbers = np.concatenate([part.ravel() for part in parts])
    numbers = numbers[np.isfinite(numbers)]
    return (float(numbers.min()), float(numbers.max())) if len(numbers) else (0.0, 0.0)


def _add_band(figure: Any, drawn: Arranged, i: int, x: list[float]) -> list[int]:
    """The band of a line, in pieces where numbers are missing: plotly would fill the gaps.

    Gives the points that stand alone, where a band has no width.
    """
    import plotly.graph_objects as go

    if drawn.low is None or drawn.high is None:
        return []
    single = []
    colour = _faint(theme.CATEGORIES[i % len(theme.CATEGORIES)])
    edge = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False, "legendgroup": str(i)}
    there = np.isfinite(drawn.low[i]) & np.isfinite(drawn.high[i])
    breaks = (np.diff(there.astype(int)) != 0).nonzero()[0] + 1
    for piece in np.split(np.arange(len(x)), breaks):
        if there[piece].all() and len(piece) == 1:
            single.append(int(piece[0]))
        elif there[piece].all():
            across = [x[j] for j in piece]
            figure.add_trace(go.Scatter(x=across, y=drawn.high[i][piece], **edge))
            figure.add_trace(go.Scatter(x=across, y=drawn.low[i][piece], fill="tonexty", fillcolor=colour, **edge))
    return single


def _add_bars(figure: Any, drawn: Arranged, i: int, x: list[float], single: list[int]) -> None:
    """Bars of a line at the points that stand alone, as a trace of their own: others would get a bar of no length."""
    import plotly.graph_objects as go

    if not single or drawn.low is None or drawn.high is None:
        return
    y, low, high = (part[i][single] for part in (drawn.data, drawn.low, drawn.high))
    look = {"color": theme.CATEGORIES[i % len(theme.CATEGORIES)], "thickness": 1.5, "width": 4}
    ends = {"type": "data", "symmetric": False, "array": high - y, "arrayminus": y - low}
    unseen = {"mode": "markers", "marker": {"opacity": 0}, "hoverinfo": "skip", "showlegend": False}
    at = [x[j] for j in single]
    figure.add_trace(go.Scatter(x=at, y=y, error_y=look | ends, legendgroup=str(i), **unseen))


def _add_line(figure: Any, y: Any, i: int, name: str, x: list[float], hovers: list[str], look: tuple[str, int]) -> None:
    import plotly.graph_objects as go

    dash, size = look
    figure.add_trace(
        go.Scatter(
            x=x,
            y=y,
            name=name,
            legendgroup=str(i),
            mode="lines+markers" if len(x) <= 40 else "lines",
            line={"color": theme.CATEGORIES[i % len(theme.CATEGORIES)], "width": 2, "dash": dash},
            marker={"size": size},
            hovertext=hovers,
            hoverinfo="text",
        )
    )


def _lay_out(figure: Any, shown: Arranged, plot: Plot, labels: list[str | int], numbers: list[float] | None) -> None:
    x_title = plot.options.get("x_label", title_of(shown.axes[1]))
    room = theme.FIGURE_WIDTH - 110 - reference_room(plot)
    if numbers is None:
        ticks = x_ticks(labels, room)
        figure.update_xaxes(**ticks.axis(x_title), range=[-0.4, len(labels) - 0.6])
    elif plot.options.get("log_x"):
        figure.update_xaxes(title={"text": for_plotly(x_title)}, **log_ticks(numbers))
    else:
        figure.update_xaxes(title={"text": for_plotly(x_title)}, **number_ticks(labels, numbers, room))
    figure.update_xaxes(showgrid=False)
    _lay_out_upwards(figure, shown, plot)
    n_series, many = shown.data.shape[0], _is_listed(shown)
    legend = {"orientation": "v", "x": 1.01, "y": 1, "yanchor": "top"} if many else {}
    top = 30 + (22 if plot.title else 0) + (26 if n_series > 1 and not many else 0)
    figure.update_layout(
        template=theme.template(),
        title=title(plot),
        height=max(360, 22 * n_series + 100) if many else 360,
        margin={"t": top},
        showlegend=n_series > 1,
        legend=legend,
        hovermode="closest",
    )


def _lay_out_upwards(figure: Any, shown: Arranged, plot: Plot) -> None:
    y_title = for_plotly(plot.options["y_label"]) if "y_label" in plot.options else unit_of(shown, plot)
    if plot.options.get("log_y"):
        figure.update_yaxes(type="log")
    if "y_range" in plot.options:
        figure.update_yaxes(range=list(plot.options["y_range"]))
    if _is_rooted(plot):
        y_title += " (square-root scale)"
        named = np.array([float(value) for value in plot.options.get("references", {}).values()])
        parts = [part for part in (shown.data, shown.low, shown.high, named) if part is not None]
        figure.update_yaxes(**root_ticks(*_ends(parts)))
    figure.update_yaxes(title={"text": y_title})


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.16)"
