"""`interp probe` on a tiny model."""

from __future__ import annotations

from pathlib import Path

import pytest

from interp.cli import main as command_line
from interp.probing import ProbeResult
from interp.results import load
from tests.cli.labelled_texts import save_labelled

QUICK = ["--folds", "2", "--layers", "0", "2", "--probes", "mean_difference"]


@pytest.fixture
def labels(tmp_path: Path) -> str:
    """40 texts of words, labelled by the last one."""
    return save_labelled(tmp_path / "labels.jsonl", 40)


def test_accuracies_are_printed_beside_their_controls(llama: str, labels: str, tmp_path: Path, capsys) -> None:
    out = tmp_path / "runs"
    assert command_line.main(["probe", "--model", llama, "--data", labels, "--out", str(out), *QUICK]) == 0
    printed = capsys.readouterr().out
    assert "40 examples in 40 groups: even" in printed
    assert "mean_difference probe of resid_post at token" in printed
    for column in ("accuracy", "95 %", "control", "shuffled", "random", "log-loss", "bits"):
        assert column in printed
    assert "embedding alone" in printed
    assert "majority class" in printed
    (folder,) = (out / "probe").iterdir()
    assert not (folder / "parts").exists()
    page = (folder / "report.html").read_text()
    assert "whether the model uses it is another question" in page
    stored = load(folder / "results" / "mean_difference")
    assert isinstance(stored, ProbeResult)
    assert stored.values["accuracy"].axis("layer").labels == (0, 2)


def test_a_task_of_the_house_for_a_model_without_tokenizer(tmp_path: Path, capsys) -> None:
    arguments = ["probe", "--model", "toy/induction", "--task", "position", "--n", "60", "--out", str(tmp_path)]
    code = command_line.main([*arguments, "--folds", "2", "--probes", "mean_difference"])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    assert "60 examples in" in captured.out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--task", "tenses"], "did you mean 'tense'"),
        (["--data", "nowhere.jsonl"], "cannot read nowhere.jsonl"),
        (["--task", "tense", "--n", "20", "--probes", "logistc"], "did you mean 'logistic'"),
        (["--task", "tense", "--n", "20", "--classes", "future"], "no class 'future'"),
    ],
)
def test_mistakes_are_one_sentence(llama: str, options: list[str], message: str, tmp_path: Path, capsys) -> None:
    assert command_line.main(["probe", "--model", llama, "--out", str(tmp_path), *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not list(tmp_path.rglob("config.yaml"))
