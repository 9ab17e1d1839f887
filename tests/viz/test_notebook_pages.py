"""Notebooks as pages without a network: what is on them, what is refused, and what a browser sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest

from interp import viz
from interp.errors import InputError
from interp.results import Result
from interp.viz import libraries, notebook_setup

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def output(data: dict[str, Any]) -> Any:
    return nbformat.v4.new_output("display_data", data)


def stored(path: Path, *outputs: Any) -> Path:
    """A notebook with a heading, a cell of parameters and one cell with these outputs."""
    text = nbformat.v4.new_markdown_cell("# A *notebook*\n\nText.")
    parameters = nbformat.v4.new_code_cell("N = 3\nNAME = 'x'")
    parameters.metadata["tags"] = ["parameters"]
    cell = nbformat.v4.new_code_cell("print('ran', N, NAME)", outputs=list(outputs))
    nbformat.write(nbformat.v4.new_notebook(cells=[text, parameters, cell]), path)
    return path


@pytest.fixture
def frame(attention: Result, monkeypatch: pytest.MonkeyPatch) -> str:
    """A view as a notebook stores it after `setup_notebook`: without its library."""
    monkeypatch.setattr(notebook_setup, "_shared", True)
    return viz.view(attention)._repr_html_()


@pytest.fixture
def notebook(tmp_path: Path, heatmap: Result, frame: str) -> Path:
    """Stored outputs: the libraries, a figure of plotly alone, a view without its library, and a table."""
    return stored(
        tmp_path / "a notebook.ipynb",
        output({"text/html": notebook_setup.libraries_html(libraries.LIBRARIES)}),
        output({notebook_setup.PLOTLY_MIME: nbformat.from_dict(viz.figure_view(heatmap.figure()).data)}),
        output({"text/html": frame}),
        output({"text/html": heatmap.top(2).to_html()}),
    )


def test_a_page_holds_the_libraries_once_and_names_no_address(notebook: Path) -> None:
    page = viz.notebook_page(notebook)
    text = page.read_text(encoding="utf-8")
    assert page == notebook.with_suffix(".html")
    assert all(text.count(libraries.packed(name)) == 1 for name in libraries.LIBRARIES)
    assert "Content-Security-Policy" in text
    assert "<title>A *notebook*</title>" in text
    assert "cdnjs" not in text
    assert 'data-draw="plotly"' in text
    assert nbformat.read(notebook, as_version=4).cells[2].outputs[0].data["text/html"]  # the notebook is as it was


def test_what_cannot_be_done_is_said(notebook: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no notebook"):
        viz.notebook_page(tmp_path / "missing.ipynb")
    with pytest.raises(InputError, match="execute=True"):
        viz.notebook_page(notebook, parameters={"N": 1})
    with pytest.raises(InputError, match=r"no parameter 'NAMES'.*NAME"):
        viz.notebook_page(notebook, execute=True, parameters={"NAMES": 1})
    book = nbformat.read(notebook, as_version=4)
    book.cells[1].metadata["tags"] = []
    nbformat.write(book, notebook)
    with pytest.raises(InputError, match="takes no parameters"):
        viz.notebook_page(notebook, execute=True, parameters={"N": 1})


@pytest.mark.slow
def test_parameters_reach_the_cells_and_a_failing_cell_is_shown(notebook: Path, tmp_path: Path) -> None:
    shown = viz.notebook_page(notebook, tmp_path / "out.html", execute=True, parameters={"N": 5, "NAME": "it's"})
    assert "ran 5 it's" in shown.read_text(encoding="utf-8")
    book = nbformat.read(notebook, as_version=4)
    book.cells[2].source = "print(1 / 0)"
    nbformat.write(book, notebook)
    with pytest.raises(InputError, match=r"(?s)failed.*print.*ZeroDivisionError") as failed:
        viz.notebook_page(notebook, execute=True)
    assert "\x1b" not in str(failed.value)


@pytest.mark.browser
def test_everything_stored_is_drawn_and_nothing_asked_for(notebook: Path) -> None:
    seen = viz.check_page(viz.notebook_page(notebook), selectors={"tables": "table.dataframe"})
    assert (seen.errors, seen.outside) == ((), ())
    assert (seen.counts["views"], seen.counts["failed"]) == (2, 0)
    assert seen.counts["heatmaps"] == 1
    assert seen.counts["canvases"] == seen.counts["painted"] == 5
    assert seen.counts["tables"] == 1


@pytest.mark.browser
def test_views_without_their_library_say_what_to_do(tmp_path: Path, frame: str) -> None:
    path = tmp_path / "cleared.html"
    path.write_text(f"<!doctype html><meta charset=utf-8>{frame}", encoding="utf-8")
    seen = viz.check_page(path, wait="frames[0].document.querySelector('[data-state=failed]')")
    assert seen.counts["failed"] == 1
    assert "run the cell with interp.viz.setup_notebook() once more" in seen.errors[0]


@pytest.mark.browser
def test_a_result_in_a_frame_brings_plotly_itself(tmp_path: Path, heatmap: Result) -> None:
    path = tmp_path / "alone.html"
    path.write_text(f"<!doctype html><meta charset=utf-8>{heatmap._repr_html_()}", encoding="utf-8")
    seen = viz.check_page(path, wait="frames[0].document.querySelector('[data-state=drawn] .heatmaplayer image')")
    assert (seen.errors, seen.outside) == ((), ())
    assert seen.counts["heatmaps"] == 1
