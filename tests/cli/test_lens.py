"""`interp lens` on a task of the hand-built model and on a text."""

from __future__ import annotations

from pathlib import Path

import pytest

from interp.cli import main as command_line
from interp.results import load
from tests.cli.saved_models import save_tiny_llama


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny_llama(tmp_path_factory.mktemp("llama"))


def test_a_task_layer_by_layer(tmp_path: Path, capsys) -> None:
    options = ["--model", "toy/induction", "--task", "toy", "--n", "4", "--out", str(tmp_path)]
    assert command_line.main(["lens", *options]) == 0
    out = capsys.readouterr().out
    assert "difference" in out
    best = next(line for line in out.splitlines() if line.strip().startswith("1.0 "))
    assert best.split()[1] == "10", "the induction head writes the whole difference"
    (folder,) = (tmp_path / "lens").iterdir()
    assert sorted(path.name for path in (folder / "results").iterdir()) == ["component", "head", "lens", "source"]
    assert (folder / "report.html").exists()


def test_a_text_with_target_and_distractor(llama: str, tmp_path: Path, capsys) -> None:
    options = ["--target", "w9", "--distractor", "w8", "--mid", "--out", str(tmp_path)]
    assert command_line.main(["lens", "w5 w6 w7", "--model", llama, *options]) == 0
    out = capsys.readouterr().out
    assert "rank 'w9'" in out
    assert "3 mid" in out
    (folder,) = (tmp_path / "lens").iterdir()
    assert load(folder / "results" / "head").settings["distractor"] == ["w8"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--task", "inductoin"], "did you mean 'induction'"),
        (["--target", "w9"], "of a text"),
        (["w5 w6", "--target", "w9 w8"], "is 2 tokens"),
    ],
)
def test_mistakes_are_one_sentence(llama: str, options: list[str], message: str, tmp_path: Path, capsys) -> None:
    assert command_line.main(["lens", "--model", llama, "--out", str(tmp_path), *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
