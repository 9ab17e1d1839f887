"""What to draw, said without any plotting library; `interp.viz` draws it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from interp.errors import InputError, nearest
from interp.results.axes import Values
from interp.results.plain import plain

PlotKind = Literal[
    "heatmap", "hinton", "lines", "bars", "scatter", "vectors", "complex_plane", "table", "graph", "attention", "text"
]


@dataclass(frozen=True)
class Plot:
    """A description of one figure of a result."""

    kind: PlotKind
    values: str
    """Name of the Values that are drawn."""
    x: str | None = None
    """Name of the horizontal axis; of a scatter, of vectors or of a complex plane, the axis of the two coordinates."""
    y: str | None = None
    """Name of the vertical axis (heatmaps; readers of a graph)."""
    series: str | None = None
    """One line, group of bars, small heatmap or point for each label of this axis."""
    title: str = ""
    caption: str = ""
    """One sentence that says what the figure shows."""
    caveat: str = ""
    """One sentence that says what it does not show."""
    low: str | None = None
    """Name of the Values with the lower ends of the intervals; same axes as `values`."""
    high: str | None = None
    """Name of the Values with the upper ends of the intervals; same axes as `values`."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """For example {"zero_centred": True, "colour_label": "logit difference", "log_x": True}."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(PlotKind):
            raise InputError(f"there is no kind of plot {self.kind!r}{nearest(self.kind, get_args(PlotKind))}")
        object.__setattr__(self, "options", plain(self.options, "options"))

    @property
    def named_axes(self) -> tuple[str, ...]:
        """The axes this plot names, without the empty ones."""
        return tuple(name for name in (self.x, self.y, self.series) if name is not None)


def check_plot(plot: Plot, values: Mapping[str, Values]) -> None:
    """Refuse a plot of values or axes that are not there, or of intervals that do not fit."""
    plotted = f"plot {plot.title!r}" if plot.title else f"a {plot.kind} plot"
    for name in (plot.values, plot.low, plot.high):
        if name is not None and name not in values:
            raise InputError(f"{plotted} draws values {name!r}, which are not there{nearest(name, values)}")
    drawn = values[plot.values]
    for axis in plot.named_axes:
        if axis not in drawn.dims:
            raise InputError(f"{plotted} names an axis {axis!r} that {plot.values!r} lacks{nearest(axis, drawn.dims)}")
    for bound in (plot.low, plot.high):
        if bound is not None and values[bound].axes != drawn.axes:
            raise InputError(f"the bounds {bound!r} of {plotted} must have the same axes as {plot.values!r}")


def narrow_plot(plot: Plot, values: Mapping[str, Values], narrowed: set[str]) -> Plot | None:
    """The plot that still makes sense after a selection, or None when what it drew is gone.

    `narrowed` names the axes that lost labels. A heatmap that lost one of its axes becomes bars over the other.
    """
    if any(name is not None and name not in values for name in (plot.values, plot.low, plot.high)):
        return None
    dims = values[plot.values].dims
    left = [name for name in plot.named_axes if name in dims]
    if plot.kind in ("attention", "text"):  # drawn over the tokens of the prompt: no token may be missing
        whole = not narrowed & {"query", "key", "position"}
        return plot if whole else replace(plot, kind="table", x=None, y=None, series=None)
    if len(left) == len(plot.named_axes):
        return plot
    if not left:
        return replace(plot, kind="table", x=None, y=None, series=None)
    if plot.x in left and (plot.y is None or plot.y in left):  # only the series is gone
        return replace(plot, series=None)
    kind: PlotKind = "lines" if plot.kind == "lines" and plot.x in left else "bars"
    return replace(plot, kind=kind, x=left[0], y=None, series=left[1] if len(left) > 1 else None)
