from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
import torch

from interp.results import Axis, Result, Values


def test_a_notebook_shows_the_figure_and_the_top_rows(result: Result) -> None:
    shown = result._repr_html_()
    assert "Plotly.newPlot" in shown
    assert "<th>layer</th>" in shown
    assert "<script src=" not in shown


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
