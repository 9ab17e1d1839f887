"""`interp report` of results that are no run: a folder of them, folders below, and one alone."""

from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path

import pytest
import torch

from interp.cli import main as command_line
from interp.results import Axis, Plot, Provenance, Result, Values


def save(path: Path, title: str, started: str) -> None:
    made = Provenance({"id": "made"}, {}, 0, {}, started=started, ended=datetime.now().isoformat())
    values = {"v": Values(torch.rand(3), (Axis("layer", (0, 1, 2)),))}
    Result(values=values, settings={}, provenance=made, plots=(Plot("lines", "v", x="layer", title=title),)).save(path)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two results in folders called results, the second one older, and no log of a run."""
    save(tmp_path / "kept" / "ioi" / "results" / "edge_scores", "Edges", "2026-01-02")
    save(tmp_path / "kept" / "results" / "behaviour", "Answers", "2026-01-01")
    (tmp_path / "kept" / "config.yaml").write_text("n: 3\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "kept"


def test_a_folder_of_results_becomes_a_page_in_the_order_they_were_made(folder: Path, capsys) -> None:
    assert command_line.main(["report", "kept"]) == 0
    assert capsys.readouterr().out == "report: kept.html\n"
    page = Path("kept.html").read_text()
    headings = [page.index(f"</span>{name}</h2>") for name in ("behaviour", "ioi/edge scores")]
    assert headings == sorted(headings)
    assert page.count("data-draw") >= 2
    assert not list(folder.glob("*.html")), "nothing is written among what is kept"


def test_one_result_and_a_choice_of_results(folder: Path, capsys) -> None:
    assert command_line.main(["report", str(folder / "results" / "behaviour"), "--out", "one.html"]) == 0
    assert "Answers" in Path("one.html").read_text()
    assert command_line.main(["report", "kept", "--step", "ioi/edge_scores", "--out", "edges.html"]) == 0
    assert "Answers" not in Path("edges.html").read_text()
    capsys.readouterr()
    assert command_line.main(["report", "kept", "--step", "behavior"]) == 2
    assert "did you mean 'behaviour'" in capsys.readouterr().err


def test_a_folder_without_results_is_refused(folder: Path, capsys) -> None:
    shutil.rmtree(folder / "results")
    shutil.rmtree(folder / "ioi")
    assert command_line.main(["report", "kept"]) == 2
    assert "holds no results yet; finish a step first, or name a folder with results" in capsys.readouterr().err
