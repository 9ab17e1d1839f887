"""What `interp reproduce` refuses, says and leaves out, without running an experiment in full."""

from __future__ import annotations

from pathlib import Path

import pytest

from interp.cli import main as command_line
from interp.cli import reproduce


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["ioi", "--n", "0"], "--n 0 leaves nothing to measure; use 1 or more"),
        (["ioi", "--n", "-3"], "--n -3 leaves nothing to measure"),
        (["all", "--n", "0"], "--n 0 leaves nothing to measure"),
        (["induction", "--n", "0"], "--n 0 leaves nothing to measure"),
        (["induction", "--length", "1"], "--length 1 leaves nothing to measure; use 2 or more"),
    ],
)
def test_nothing_to_measure_is_refused_before_a_model_is_loaded(
    options: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(reproduce, "load_model", None)
    assert command_line.main(["reproduce", *options, "--out", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_experiment_that_a_model_cannot_be_asked_at_all_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    options = ["reproduce", "ioi", "--model", "toy/induction", "--out", str(tmp_path)]
    assert command_line.main(options) == 2
    said = capsys.readouterr()
    assert "tokenizer" in said.err
    assert "report" not in said.out
    assert not list(tmp_path.iterdir())  # an empty run would only be in the way
