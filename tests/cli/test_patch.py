"""`interp patch` and `interp report`, on a hand-built model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from interp.cli import main as command_line
from interp.cli import patch, report


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = command_line.main(list(arguments))
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_patch_prints_the_largest_effects_and_keeps_everything(tmp_path: Path, capsys) -> None:
    code, out, _ = run(capsys, "patch", "--model", "toy/induction", "--task", "toy", "--n", "4", "--out", str(tmp_path))
    assert code == 0
    (folder,) = (tmp_path / "patch").iterdir()
    assert str(folder) in out
    assert (folder / "report.html").stat().st_size > 1_000_000
    assert json.loads((folder / "results" / "sweep" / "result.json").read_text())["settings"]["over"] == "z"
    first = next(line for line in out.splitlines() if line.strip().startswith("1 "))
    assert first.split()[:2] == ["1", "0"], "the induction head restores everything"


def test_report_of_a_run(tmp_path: Path, capsys) -> None:
    run(capsys, "patch", "--model", "toy/induction", "--task", "toy", "--n", "4", "--out", str(tmp_path))
    page = tmp_path / "page.html"
    code, out, _ = run(capsys, "report", "latest", "--root", str(tmp_path), "--out", str(page))
    assert (code, page.exists()) == (0, True)
    assert str(page) in out
    code, _, error = run(capsys, "report", "latest", "--root", str(tmp_path), "--step", "sweeep")
    assert code == 2
    assert "did you mean 'sweep'" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--task", "repeated-tex"), "did you mean 'repeated-text'"),
        (("--task", "pairs.csv"), "ends in .jsonl"),
        (("--task", "toy", "--over", "zz"), "did you mean 'z'"),
        (("--task", "toy", "--metric", "logit_diference"), "did you mean 'logit_difference'"),
    ],
)
def test_mistakes_are_one_sentence(arguments: tuple[str, ...], message: str, tmp_path: Path, capsys) -> None:
    code, _, error = run(capsys, "patch", "--model", "toy/induction", "--out", str(tmp_path), *arguments)
    assert code == 2
    assert message in error
    assert "Traceback" not in error


def test_help_of_every_option(capsys) -> None:
    for module in (patch, report):
        with pytest.raises(SystemExit):
            command_line.main([module.__name__.rpartition(".")[2], "--help"])
        assert "Options" not in capsys.readouterr().err
