"""Lines with interval bands: one line per label of the series."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interp.viz import theme
from interp.viz.arranging import Arranged, arrange, labels_of, numeric, title_of, x_ticks
from interp.viz.framing import add_references, hover, name_of, title, unit_of
from interp.viz.text import for_plotly

if TYPE_CHECKING:
    from interp.results import Plot, Result


def lines(result: Result, plot: Plot) -> Any:
    """The plot as a plotly figure: `x` across, one line per label of `series`, a band from `low` to `high`.

    Numbers on the x axis keep their distances; other labels stand evenly. Options: log_x, log_y, zero_line, references
    ({name: value}, dashed horizontal lines such as chance or the clean run), x_label, y_label, y_range (low, high).
    """
    import plotly.graph_objects as go

    shown = arrange(result, plot, [plot.series, plot.x])
    labels = labels_of(shown.axes[1])
    numbers = numeric(labels)
    x = numbers if numbers is not None else [float(i) for i in range(len(labels))]
    figure = go.Figure()
    for i, name in enumerate(labels_of(shown.axes[0])):
        _add_line(figure, shown, plot, i, name, x)
    add_references(figure, plot)
    _lay_out(figure, shown, plot, labels, numbers)
    return figure


def _add_line(figure: Any, shown: Arranged, plot: Plot, i: int, name: str | int, x: list[float]) -> None:
    import plotly.graph_objects as go

    colour = theme.CATEGORIES[i % len(theme.CATEGORIES)]
    dash = theme.DASHES[i // len(theme.CATEGORIES) % len(theme.DASHES)]
    if shown.low is not None and shown.high is not None:
        edge = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False, "legendgroup": str(i)}
        figure.add_trace(go.Scatter(x=x, y=shown.high[i], **edge))
        figure.add_trace(go.Scatter(x=x, y=shown.low[i], fill="tonexty", fillcolor=_faint(colour), **edge))
    few = len(x) <= 40
    figure.add_trace(
        go.Scatter(
            x=x,
            y=shown.data[i],
            name=name_of(shown.axes[0], name),
            legendgroup=str(i),
            mode="lines+markers" if few else "lines",
            line={"color": colour, "width": 2, "dash": dash},
            marker={"size": 5},
            hovertext=[hover(shown, plot, i, j) for j in range(len(x))],
            hoverinfo="text",
        )
    )


def _lay_out(figure: Any, shown: Arranged, plot: Plot, labels: list[str | int], numbers: list[float] | None) -> None:
    x_title = plot.options.get("x_label", title_of(shown.axes[1]))
    if numbers is None:
        ticks = x_ticks(labels, theme.FIGURE_WIDTH - 110)
        figure.update_xaxes(**ticks.axis(x_title), range=[-0.4, len(labels) - 0.6])
    elif plot.options.get("log_x"):
        figure.update_xaxes(type="log", title={"text": for_plotly(x_title)})
    else:
        figure.update_xaxes(title={"text": for_plotly(x_title)})
    figure.update_xaxes(showgrid=False)
    figure.update_yaxes(
        title={"text": for_plotly(plot.options["y_label"]) if "y_label" in plot.options else unit_of(shown, plot)}
    )
    if plot.options.get("log_y"):
        figure.update_yaxes(type="log")
    if "y_range" in plot.options:
        figure.update_yaxes(range=list(plot.options["y_range"]))
    n_series = shown.data.shape[0]
    many = n_series > 8
    legend = {"orientation": "v", "x": 1.01, "y": 1, "yanchor": "top"} if many else {}
    top = 30 + (22 if plot.title else 0) + (26 if 1 < n_series <= 8 else 0)
    figure.update_layout(
        template=theme.template(),
        title=title(plot),
        height=max(360, 22 * n_series + 100) if many else 360,
        margin={"t": top},
        showlegend=n_series > 1,
        legend=legend,
        hovermode="closest",
    )


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.16)"
