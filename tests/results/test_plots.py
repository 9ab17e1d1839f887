from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from interp.errors import InputError
from interp.results import Axis, Plot, Result, Values
from tests.results.conftest import axis, unchecked


def test_a_plot_of_something_that_is_not_there_is_refused(result: Result, make: Callable[..., Result]) -> None:
    for plot, sentence in [
        (Plot("heatmap", "maen", title="heads"), "plot 'heads' draws values 'maen', .* did you mean 'mean'"),
        (Plot("heatmap", "mean", x="haed"), "names an axis 'haed' that 'mean' lacks; did you mean 'head'"),
        (Plot("lines", "mean", x="layer", series="example"), "names an axis 'example' that 'mean' lacks"),
        (Plot("bars", "mean", low="each"), "the bounds 'each' of a bars plot must have the same axes as 'mean'"),
    ]:
        with pytest.raises(InputError, match=sentence):
            make(dict(result.values), plots=(plot,))


def test_an_unknown_kind_of_plot_names_the_nearest() -> None:
    with pytest.raises(InputError, match="no kind of plot 'heat'; did you mean 'heatmap'"):
        unchecked(Plot)("heat", "mean")


def test_a_heatmap_that_loses_an_axis_becomes_bars(result: Result) -> None:
    (plot,) = result.sel(layer=1).plots
    assert (plot.kind, plot.x, plot.y, plot.low) == ("bars", "head", None, "low")
    (plot,) = result.sel(layer=1, head=0).plots
    assert (plot.kind, plot.x) == ("table", None)
    assert result.sel(layer=[0, 1]).plots == result.plots


def test_lines_that_lose_their_series_stay_lines(make: Callable[..., Result]) -> None:
    drawn = Values(torch.zeros(3, 2), (axis("layer", 3), Axis("role", ("IO", "end"))))
    lines = make({"rank": drawn}, plots=(Plot("lines", "rank", x="layer", series="role"),))
    assert (lines.sel(role="IO").plots[0].kind, lines.sel(role="IO").plots[0].series) == ("lines", None)
    assert (lines.sel(layer=0).plots[0].kind, lines.sel(layer=0).plots[0].x) == ("bars", "role")


def test_facets_that_lose_x_become_grouped_bars(make: Callable[..., Result]) -> None:
    drawn = Values(torch.zeros(3, 2, 4), (axis("layer", 3), Axis("role", ("IO", "end")), axis("head", 4)))
    maps = make({"effect": drawn}, plots=(Plot("heatmap", "effect", x="head", y="layer", series="role"),))
    (plot,) = maps.sel(head=0).plots
    assert (plot.kind, plot.x, plot.y, plot.series) == ("bars", "layer", None, "role")
    (plot,) = maps.sel(role="IO").plots
    assert (plot.kind, plot.x, plot.y, plot.series) == ("heatmap", "head", "layer", None)


def test_attention_survives_the_choice_of_heads_but_not_of_tokens(make: Callable[..., Result]) -> None:
    axes = (axis("example", 2), axis("layer", 1), axis("head", 3), axis("query", 4), axis("key", 4))
    view = make({"pattern": Values(torch.zeros(2, 1, 3, 4, 4), axes)}, plots=(Plot("attention", "pattern"),))
    assert view.sel(example=0, head=[1]).plots[0].kind == "attention"
    assert view.sel(key=[0, 1]).plots[0].kind == "table"
