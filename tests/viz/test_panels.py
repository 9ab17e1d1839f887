"""Where panels stand, held against what plotly says of its own subplots."""

from __future__ import annotations

import pytest

from interp.results import Plot
from interp.viz.panels import Panels, x_axis_of


@pytest.mark.parametrize(("n", "across", "down"), [(1, 1, 1), (3, 3, 1), (5, 3, 2), (4, 1, 4)])
def test_panels_stand_where_plotly_puts_them(n: int, across: int, down: int) -> None:
    panels = Panels([f"panel {i}" for i in range(n)], across, 100.0, 20.0, 0.02)
    figure = panels.figure()
    assert panels.drawn == 100 * down + 20 * (down - 1)
    for i in range(n):
        x = figure.get_subplot(**panels.where(i)).xaxis
        assert x.plotly_name.replace("xaxis", "x") == x_axis_of(i)
    low, high = figure.get_subplot(row=1, col=1).yaxis.domain
    assert (high - low) * panels.drawn == pytest.approx(100)
    assert [note.text for note in figure.layout.annotations] == (list(panels.names) if n > 1 else [])
    assert panels.headroom(Plot("heatmap", "v", title="Named")) == (46 if n > 1 else 28)
    assert panels.headroom(Plot("heatmap", "v")) == (18 if n > 1 else 0)
