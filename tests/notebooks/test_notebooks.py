"""The notebooks of experiments/: without outputs in the repository, and drawn in full when they are run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from interp.viz import check_page
from tests.notebooks.jupyter_lab import opened, run_all, wait_until
from tests.notebooks.tiny_reader import save_tiny_reader

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "experiments" / "notebooks").glob("*.ipynb"))
# The fast variant: few prompts, and a model of four tiny layers whose words are those of the prompts.
FAST = {
    "tour_of_a_model": [
        "REPEATED=Then Mary and John went to the store . Then Mary and John went to",
        "N=2",
        "LENGTH=12",
    ],
    "ioi_from_behaviour_to_circuit": ["N=30", "N_MAPS=2", "N_PATHS=2", "N_KNOCK_OUT=4", "N_REFERENCE=30"],
}
# What each page shows: views (plotly figures and CircuitsVis views), frames among them, painted canvases at least.
SHOWN = {"tour_of_a_model": (10, 3, 20), "ioi_from_behaviour_to_circuit": (11, 1, 5)}
STDERR = "[data-mime-type='application/vnd.jupyter.stderr']"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_reader(tmp_path_factory.mktemp("reader"))


def test_every_notebook_is_tested() -> None:
    assert {path.stem for path in NOTEBOOKS} == set(FAST) == set(SHOWN)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_stay_out_of_the_repository(path: Path) -> None:
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    cells = [cell for cell in book.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in cells)
    assert book.metadata["kernelspec"]["name"] == "python3"
    assert "setup_notebook()" in cells[0].source
    assert [cell.metadata.get("tags") for cell in cells].count(["parameters"]) == 1
    assert not re.search(r"(?<![\w.])(/[a-z]+/\w|[A-Z]:\\\\)", path.read_text(encoding="utf-8")), "an absolute path"


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_page_is_drawn_without_a_network(path: Path, model: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts/notebooks_to_html.py"), str(path), "--out", str(tmp_path)]
    command += ["--set", f"MODEL={model}", *FAST[path.stem]]
    run = subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr[-3000:]
    seen = check_page(
        tmp_path / f"{path.stem}.html",
        selectors={"frames": "iframe[data-interp]", "drawn": "[data-state=drawn]", "wrong": STDERR},
    )
    n_views, n_frames, n_canvases = SHOWN[path.stem]
    assert (seen.errors, seen.outside) == ((), ())
    assert (seen.counts["views"], seen.counts["drawn"], seen.counts["failed"]) == (n_views, n_views, 0)
    assert seen.counts["frames"] == n_frames
    assert seen.counts["plotly"] >= n_views - n_frames
    assert seen.counts["canvases"] == seen.counts["painted"] >= n_canvases
    assert seen.counts["wrong"] == 0
    assert "no figure" not in seen.text
    assert not nbformat.read(path, as_version=4).cells[1].outputs


@pytest.mark.slow
@pytest.mark.browser
def test_figures_and_views_are_drawn_live_in_jupyterlab(tmp_path: Path) -> None:
    pytest.importorskip("jupyterlab")
    cells = [
        "import torch, interp\ninterp.viz.setup_notebook()",
        "model = interp.load_model('toy/induction')\ninterp.heads.scores(model, n=2, length=10)",
        "interp.heads.patterns(model, torch.arange(2, 9)[None])",
    ]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(book, tmp_path / "live.ipynb")

    figure = "document.querySelectorAll('.js-plotly-plot .heatmaplayer image').length === 3"
    frame = "document.querySelector('iframe[data-interp]')?.contentDocument"
    view = f"{frame}?.querySelectorAll('[data-state=drawn] canvas').length === 5"
    with opened(tmp_path / "live.ipynb") as session:
        run_all(session, len(cells))
        wait_until(session, f"{figure} && {view}")
        outside = {
            e["params"]["request"]["url"] for e in session.events if e.get("method") == "Network.requestWillBeSent"
        }
        assert all(url.startswith(("http://127.0.0.1:", "data:", "blob:", "ws://127.0.0.1:")) for url in outside)
