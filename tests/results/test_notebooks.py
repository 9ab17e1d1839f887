from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import pytest
import torch

from interp.results import Axis, Plot, Result, Values


def test_a_notebook_shows_the_figure_and_the_top_rows(result: Result) -> None:
    shown = result._repr_html_()
    assert "data-draw=&quot;plotly&quot;" in shown
    assert "<th>layer</th>" in shown
    assert "<script src=" not in shown
    assert len(shown) < 2_300_000  # plotly.js is packed


def test_caption_and_caveat_stand_below_the_figure(result: Result, make: Callable[..., Result]) -> None:
    plot = replace(result.plots[0], caption="What <it> shows.", caveat="Beware.")
    shown = make(dict(result.values), plots=(plot,))._repr_html_()
    assert "<p>What &lt;it&gt; shows.<br><b>Caveat.</b> Beware.</p>" in shown


def test_rows_do_not_repeat_a_table(result: Result, make: Callable[..., Result]) -> None:
    table = make(dict(result.values), plots=(Plot("table", "mean"),))
    assert "<th>layer</th>" not in table._repr_html_()


def test_without_a_drawing_room_the_table_remains(result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "interp.viz.figures", None)
    shown = result._repr_html_()
    assert "no figure" in shown
    assert "<th>layer</th>" in shown


def test_text_is_escaped(make: Callable[..., Result]) -> None:
    evil = make({"<script>": Values(torch.ones(1), (Axis("<i>", ("<b>",)),))})
    shown = evil._repr_html_()
    assert "<script>" not in shown
    assert "<b>" not in shown
    assert "<i>" not in shown


def test_showing_never_fails(make: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    broken = make({"x": Values(torch.ones(1), (Axis("a", (0,)),))})

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("out of <ink>")

    monkeypatch.setattr(Result, "top", fail)
    assert "out of &lt;ink&gt;" in broken._repr_html_()


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, bool]]:
    """What IPython was asked to show, without IPython."""
    calls: list[tuple[object, bool]] = []
    display = ModuleType("IPython.display")
    display.display = lambda what, raw=False: calls.append((what, raw))  # type: ignore[attr-defined]
    package = ModuleType("IPython")
    package.get_ipython = lambda: SimpleNamespace(kernel=None)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", package)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return calls


def test_ipython_draws_the_figure_in_its_own_way(
    result: Result, shown: list[tuple[object, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = {"application/vnd.plotly.v1+json": {}}
    monkeypatch.setattr(Result, "figure", lambda _: SimpleNamespace(_repr_mimebundle_=lambda: bundle))
    result._ipython_display_()
    assert shown[0] == (bundle, True)
    assert shown[1][1]
    assert "<th>layer</th>" in shown[1][0]["text/html"]  # type: ignore[index]


def test_ipython_in_a_terminal_gets_text(
    result: Result,
    shown: list[tuple[object, bool]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: SimpleNamespace())
    result._ipython_display_()
    assert shown == []
    assert capsys.readouterr().out.startswith("Result(kind='result')")


def test_ipython_shows_views_by_their_html_and_the_table_when_drawing_fails(
    result: Result, shown: list[tuple[object, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    class View:
        def _repr_html_(self) -> str:
            return "<iframe>"

    def fail(_: Result) -> None:
        raise RuntimeError("no ink")

    monkeypatch.setattr(Result, "figure", lambda _: View())
    result._ipython_display_()
    monkeypatch.setattr(Result, "figure", fail)
    result._ipython_display_()
    pieces = [what["text/html"] for what, _ in shown]  # type: ignore[index]
    assert pieces[0] == "<iframe>"
    assert "no figure: no ink" in pieces[2]
    assert "<th>layer</th>" in pieces[1]
    assert "<th>layer</th>" in pieces[3]
