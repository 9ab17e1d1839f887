"""What a notebook is given once, what figures and views then weigh, and where nothing is done."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import plotly.graph_objects as go
import plotly.io
import pytest

from interp import viz
from interp.results import Result
from interp.viz import libraries, notebook_setup, pages

Make = Callable[..., Result]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What a kernel was asked to show; plotly and the room forget it all afterwards."""
    calls: list[Any] = []
    display = ModuleType("IPython.display")
    display.HTML = str  # type: ignore[attr-defined]
    display.display = calls.append  # type: ignore[attr-defined]
    package = ModuleType("IPython")
    package.get_ipython = lambda: SimpleNamespace(kernel=None)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", package)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.setattr(notebook_setup, "_shared", False)
    before = plotly.io.renderers.default
    plotly.io.renderers.default = "plotly_mimetype"
    yield calls
    plotly.io.renderers.default = before


@pytest.mark.filterwarnings("ignore:IProgress not found")
def test_the_libraries_are_shown_once_and_views_leave_theirs_out(shown: list[Any], attention: Result) -> None:
    alone = viz.view(attention)._repr_html_()
    viz.setup_notebook()
    (libraries_output,) = shown
    assert notebook_setup.MARK in libraries_output
    assert all(libraries.packed(name) in libraries_output for name in libraries.LIBRARIES)
    light = viz.view(attention)._repr_html_()
    assert libraries.packed("circuitsvis") in alone
    assert libraries.packed("circuitsvis") not in light
    assert len(light) < 60_000


@pytest.mark.filterwarnings("ignore:IProgress not found")
def test_figures_get_html_beside_plotlys_own_type(shown: list[Any], heatmap: Result) -> None:
    viz.setup_notebook()
    viz.setup_notebook()  # a cell may be run again
    bundle = heatmap.figure()._repr_mimebundle_()
    assert set(bundle) == {notebook_setup.PLOTLY_MIME, "text/html"}
    assert 'data-draw="plotly"' in bundle["text/html"]
    assert "Effects" in bundle["text/html"].partition("<script")[0]
    assert len(bundle["text/html"]) < 100_000
    assert re.findall(r'id="(figure-\w+)"', bundle["text/html"]) != re.findall(
        r'id="(figure-\w+)"', heatmap.figure()._repr_mimebundle_()["text/html"]
    )


def test_hostile_titles_stay_text() -> None:
    figure = go.Figure(layout={"title": {"text": "</script><img src=x>"}}).to_plotly_json()
    made = notebook_setup.figure_html(figure)
    assert "<img" not in made
    assert made.count("</script>") == 2
    assert notebook_setup.figure_html({"data": [], "layout": {"title": "plain", "height": 300}}).count("plain") == 2


@pytest.mark.parametrize("renderer", ["colab", "png", "plotly_mimetype+notebook"])
def test_a_renderer_that_was_chosen_is_kept(shown: list[Any], renderer: str) -> None:
    plotly.io.renderers.default = renderer
    viz.setup_notebook()
    assert plotly.io.renderers.default == renderer
    assert not notebook_setup.shared()


def test_outside_of_a_notebook_nothing_happens(shown: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: None)
    viz.setup_notebook()
    assert shown == []
    assert plotly.io.renderers.default == "plotly_mimetype"
    assert not notebook_setup.shared()


def test_packing_is_reproducible_and_saves_more_than_half() -> None:
    for name in libraries.LIBRARIES:
        first = libraries.packed(name)
        libraries.packed.cache_clear()
        assert libraries.packed(name) == first
        assert len(first) < 0.45 * len(libraries.source(name))
    assert "</script" not in pages.packed_script(libraries.LIBRARIES)


def test_a_figure_as_a_view_keeps_its_data(heatmap: Result) -> None:
    made = viz.figure_view(heatmap.figure(), "Effects")
    assert made.painter == "plotly"
    assert made.data["data"][0]["type"] == "heatmap"
    assert made.height == heatmap.figure().layout.height
