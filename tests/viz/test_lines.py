"""Line plots: ticks that were measured, names of reference lines, lines over each other, the scale of square roots."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from interp.results import Plot, Result
from interp.viz import figure, theme
from interp.viz.overlaps import covering, stripes
from interp.viz.scales import number_ticks, root_ticks, rooted
from tests.viz.conftest import values

Make = Callable[..., Result]
WIDTH = 700.0


def traces_of(drawn: Any) -> list[Any]:
    """The lines of a figure, without bands."""
    return [trace for trace in drawn.data if trace.fill is None and trace.line.width]


def bars_of(drawn: Any) -> list[Any]:
    """The bars of a figure's single points."""
    return [trace for trace in drawn.data if trace.error_y.array is not None]


@pytest.mark.parametrize("layers", [[0, 1, 2], [3], [0, 6, 12, 17, 23, 29]])
def test_a_tick_stands_at_every_layer_that_was_measured_and_nowhere_else(make: Make, layers: list[int]) -> None:
    drawn = figure(make({"v": values(torch.rand(len(layers)), layer=layers)}), Plot("lines", "v", x="layer"))
    assert list(drawn.layout.xaxis.tickvals) == layers
    assert list(drawn.layout.xaxis.ticktext) == [str(layer) for layer in layers]


def test_ticks_without_room_are_left_to_plotly_but_stay_whole() -> None:
    assert number_ticks(list(range(30)), [float(i) for i in range(30)], WIDTH) == {}
    assert number_ticks([10000 + i for i in range(9)], [10000.0 + i for i in range(9)], 200.0) == {"dtick": 1}
    assert number_ticks(["0.1", "0.101"], [0.1, 0.101], 40.0) == {}
    assert number_ticks(["-1", "0.5"], [-1.0, 0.5], WIDTH)["ticktext"] == ["−1", "0.5"]


@pytest.mark.parametrize("kind", ["lines", "bars"])
def test_reference_lines_are_named_outside_the_plot_and_apart(make: Make, kind: str) -> None:
    options = {"references": {"majority class": 0.5, "embedding alone": 0.51, "whole": 2.0}}
    drawn = figure(make({"v": values(torch.rand(3), layer=3)}), Plot(kind, "v", x="layer", options=options))  # type: ignore[arg-type]
    notes = {note.text: note for note in drawn.layout.annotations}
    assert set(notes) == {"majority class<br>0.5", "embedding alone<br>0.51", "whole<br>2"}
    assert all((note.xref, note.x, note.xanchor) == ("paper", 1, "left") for note in notes.values())
    assert drawn.layout.margin.r > 6 * len("embedding alone")
    assert notes["embedding alone<br>0.51"].yshift > 15
    assert notes["whole<br>2"].yshift == 0
    assert sorted(shape.y0 for shape in drawn.layout.shapes if shape.line.dash) == [0.5, 0.51, 2.0]


def test_many_lines_have_reference_lines_in_their_legend(make: Make) -> None:
    named = {"v": values(torch.rand(9, 3), head=9, layer=3)}
    drawn = figure(make(named), Plot("lines", "v", x="layer", series="head", options={"references": {"chance": 0.5}}))
    assert drawn.data[-1].name == "chance 0.5"
    assert not drawn.layout.annotations


def test_lines_over_each_other_take_turns_and_others_stay_as_they_are(make: Make) -> None:
    data = torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.1, 0.5], [1.0, 1.0, 0.7], [1.0, 1.0, 1.0]])
    named = {"v": values(data, curve=["a", "b", "c", "d"], layer=3)}
    a, b, c, d = traces_of(figure(make(named), Plot("lines", "v", x="layer", series="curve")))
    assert (a.line.dash, b.line.dash) == ("solid", "solid")
    assert (c.line.dash, d.line.dash) == (stripes(1, 3), stripes(2, 3))
    assert a.marker.size > c.marker.size > d.marker.size == b.marker.size


def test_stripes_fill_each_others_gaps() -> None:
    def shown(dash: str) -> list[bool]:
        off, at, on, rest = (int(part.removesuffix("px")) for part in dash.split(","))
        return [False] * at + [True] * (off + on) + [False] * rest

    second, third = shown(stripes(1, 3)), shown(stripes(2, 3))
    assert len(second) == len(third) == 24
    assert not any(a and b for a, b in zip(second, third))
    assert not any(second[:8] + third[:8])  # there the first is seen


def test_lines_that_only_cross_do_not_cover_each_other() -> None:
    crossing = np.array([[0.0, 0.5, 1.0], [1.0, 0.5, 0.0], [np.nan, np.nan, np.nan]])
    assert covering(crossing, 1.0) == [(0, 1)] * 3
    assert covering(np.array([[0.5], [0.5]]), 1.0) == [(0, 2), (1, 2)]


def test_a_scale_of_roots_shows_small_numbers_beside_large_ones(make: Make) -> None:
    data = torch.tensor([[0.0, 0.04, 2.56, -0.01]])
    named = {"v": values(data, "logits", curve=["a"], layer=4)}
    named |= {"l": values(data - 0.01, curve=["a"], layer=4), "h": values(data + 0.01, curve=["a"], layer=4)}
    options = {"y_scale": "root", "references": {"all": 4.0}, "y_label": "logits"}
    plot = Plot("lines", "v", x="layer", series="curve", low="l", high="h", options=options)
    drawn = figure(make(named), plot)
    (line,) = traces_of(drawn)
    assert np.allclose(line.y, [0, 0.2, 1.6, -0.1])
    assert "<b>2.56</b>" in line.hovertext[2]
    axis = drawn.layout.yaxis
    assert axis.title.text == "logits (square-root scale)"
    shown = dict(zip(axis.ticktext, axis.tickvals))
    assert {text: shown[text] for text in ("0", "1", "2")} == {"0": 0, "1": 1, "2": pytest.approx(2**0.5)}
    assert [shape.y0 for shape in drawn.layout.shapes if shape.line.dash] == [2]
    assert drawn.layout.annotations[0].text == "all<br>4"


@pytest.mark.parametrize(("low", "high"), [(0.0, 8.7), (-0.3, 4.5), (-2.0, -0.1), (0.0, 3e-5), (0.0, 0.0)])
def test_ticks_of_roots_stand_apart_in_order_with_0_among_them(low: float, high: float) -> None:
    found = root_ticks(low, high)
    places = found["tickvals"]
    assert "0" in found["ticktext"]
    assert places == sorted(places)
    span = float(rooted(max(high, 0)) - rooted(min(low, 0)))
    assert all(b - a >= 0.089 * span for a, b in itertools.pairwise(places))
    assert len(places) > 2 or span == 0
    assert all(theme.number(float(np.sign(p)) * p * p) == text for p, text in zip(places, found["ticktext"]))


def test_missing_numbers_leave_gaps_in_bands_too(make: Make) -> None:
    data = torch.tensor([[1.0, 2.0, float("nan"), 3.0, 4.0]])
    axes: dict[str, Any] = {"curve": ["a"], "layer": 5}
    named = {"v": values(data, **axes), "l": values(data - 1, **axes), "h": values(data + 1, **axes)}
    drawn = figure(make(named), Plot("lines", "v", x="layer", series="curve", low="l", high="h"))
    bands = [trace for trace in drawn.data if trace.fill == "tonexty"]
    assert [list(band.x) for band in bands] == [[0, 1], [3, 4]]


def test_single_points_have_bars_and_stand_side_by_side(make: Make) -> None:
    data = torch.tensor([[0.25], [0.25], [0.5], [0.25]])
    axes: dict[str, Any] = {"curve": ["a", "b", "c", "d"], "layer": [20]}
    named = {"v": values(data, "share", **axes), "l": values(data - 0.1, **axes), "h": values(data + 0.2, **axes)}
    named["h"].data[3] = float("nan")
    drawn = figure(make(named), Plot("lines", "v", x="layer", series="curve", low="l", high="h"))
    a, b, c, d = traces_of(drawn)
    places = [trace.x[0] for trace in (a, b, c, d)]
    assert places == sorted(set(places))
    assert sum(places) / 4 == pytest.approx(20)
    assert all(later - earlier > 0.05 for earlier, later in itertools.pairwise(places))
    bars = bars_of(drawn)
    assert len(bars) == 3  # of the fourth there is no interval
    for trace, bar in zip((a, b, c), bars):
        assert (bar.x[0], bar.y[0]) == (trace.x[0], trace.y[0])
        assert bar.error_y.array[0] == pytest.approx(0.2)
        assert bar.error_y.arrayminus[0] == pytest.approx(0.1)
        assert bar.error_y.color == trace.line.color
    assert list(drawn.layout.xaxis.tickvals) == [20]
    assert drawn.layout.xaxis.range == (19.5, 20.5)


def test_a_point_between_gaps_has_a_bar_and_its_neighbours_a_band(make: Make) -> None:
    data = torch.tensor([[1.0, float("nan"), 2.0, float("nan"), 3.0, 4.0]])
    axes: dict[str, Any] = {"curve": ["a"], "layer": 6}
    named = {"v": values(data, **axes), "l": values(data - 1, **axes), "h": values(data + 1, **axes)}
    drawn = figure(make(named), Plot("lines", "v", x="layer", series="curve", low="l", high="h"))
    (line,) = traces_of(drawn)
    assert list(line.x) == [0, 1, 2, 3, 4, 5]
    (bar,) = bars_of(drawn)
    assert list(bar.x) == [0, 2]
    assert list(bar.error_y.array) == [1, 1]
    (band,) = [trace for trace in drawn.data if trace.fill == "tonexty"]
    assert list(band.x) == [4, 5]
