"""`interp patch` and `interp report`, on a hand-built model."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from interp.cli import main as command_line
from interp.cli import patch
from interp.tasks import from_jsonl
from tests.tasks.space_tokenizer import space_model


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
    rows = [line.split()[:2] for line in out.splitlines()]
    assert rows[rows.index(["head", "value"]) + 1] == ["1.0", "20"], "the induction head restores everything"


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
        ((), "the task ioi is text and toy/induction has no tokenizer; use --task toy"),
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


def test_a_refused_run_leaves_nothing(tmp_path: Path, capsys) -> None:
    run(capsys, "patch", "--model", "toy/induction", "--task", "toy", "--over", "zz", "--out", str(tmp_path / "runs"))
    assert list((tmp_path / "runs").iterdir()) == []


def test_the_example_of_the_help_is_a_file_that_can_be_used(tmp_path: Path) -> None:
    # One object stands on several lines there, and its tokens are words.
    objects, text = [], patch.__doc__[patch.__doc__.index('    {"clean"') :]
    decoder = json.JSONDecoder()
    while text.lstrip().startswith("{"):
        found, end = decoder.raw_decode(text.lstrip())
        objects.append(found)
        text = text.lstrip()[end:]
    assert len(objects) == 2
    file = tmp_path / "capitals.jsonl"
    file.write_text("\n".join(json.dumps(found) for found in objects))
    words = re.findall(r"\w+", " ".join(found["clean"] + found["corrupt"] for found in objects))
    model = space_model(dict.fromkeys([*words, "Paris", "Rome", "Tokyo", "Cairo"]))
    task = from_jsonl(model, file)
    at = {"clean": task.positions, "corrupt": task.corrupt_positions}
    named = {
        side: [
            model.tokenizer.decode([row[place]]) for row, place in zip(getattr(task, side), found["country"].tolist())
        ]
        for side, found in at.items()
    }
    assert named == {"clean": [" France", " Japan"], "corrupt": [" Italy", " Egypt"]}
    assert [text.split()[0] for text in task.texts()["clean"]] == ["The", "I"]
