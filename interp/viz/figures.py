"""`figure(result, plot)`: the plotly figure of any plot description. One file a kind."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interp.results import Plot, Result

# Which function of which file draws a kind.
_DRAWERS = {
    "heatmap": ("heatmaps", "heatmap"),
    "hinton": ("hintons", "hinton"),
    "lines": ("lines", "lines"),
    "bars": ("bars", "bars"),
    "scatter": ("scatters", "scatter"),
    "vectors": ("vectors", "vectors"),
    "complex_plane": ("complex_planes", "complex_plane"),
    "table": ("tables", "table"),
    "graph": ("graphs", "graph"),
    "attention": ("token_maps", "attention"),
    "text": ("token_maps", "token_strip"),
}


def figure(result: Result, plot: Plot | int = 0) -> Any:
    """Draw one plot of a result as a `plotly.graph_objects.Figure`.

    `plot` is a description or its place in `result.plots`. Attention and text become heatmaps here; `interp.viz.view`
    makes them pages one can explore. Raises InputError for axes or values that the result does not have.
    """
    chosen = result.plots[plot] if isinstance(plot, int) else plot
    module, name = _DRAWERS[chosen.kind]
    return getattr(importlib.import_module(f"interp.viz.{module}"), name)(result, chosen)
