"""`interp superposition` at sizes that take a second, what it keeps, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from interp.cli import main as command_line
from interp.cli import superposition as command
from interp.results import load
from interp.superposition import PhaseDiagram, ToyModels


def run(tmp_path: Path, *options: object, code: int = 0) -> None:
    arguments = ["superposition", "--out", str(tmp_path), *map(str, options)]
    assert command_line.main(arguments) == code


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every study with next to no training."""
    few = {"n_seeds": 1, "n_steps": 3, "n_test": 64}
    sizes: dict[str, Any] = {
        "phase_2_1": {"sparsity": 3, "importance": 3},
        "phase_3_2": {"sparsity": 2, "importance": 2},
    }
    for name in ("first_figure", "relu", "linear", "geometry", "privileged", "computation"):
        sizes[name] = {"n_features": 4, "n_hidden": 2, "sparsity": [0.0, 0.9]}
    sizes["importance"] = {"n_features": 4, "n_hidden": 2}
    sizes["shapes"] = {"sizes": [(2, 1)]}
    for name, step in command.STEPS.items():
        tiny = dict(step.quick) | few | sizes.get(name, {})
        monkeypatch.setitem(command.STEPS, name, command.Step(**(vars(step) | {"quick": tiny})))


def test_all_studies_in_one_report(tmp_path: Path, small: None, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path)
    out = capsys.readouterr().out
    (folder,) = (tmp_path / "superposition").iterdir()
    page = (folder / "report.html").read_text()
    for step in command.STEPS.values():
        assert step.title in out
        assert step.title in page
    kept = {path.name for path in (folder / "results").iterdir()}
    assert kept == set(command.STEPS)
    for name, step in command.STEPS.items():
        asked = command.asked(step, load(folder / "results" / name).settings)
        assert "{" not in asked
        assert ("4 features" in asked) == ("{features}" in step.about) or name == "correlated_sets"
    linear = load(folder / "results" / "linear")
    assert isinstance(linear, ToyModels)
    assert linear.settings["model"] == "linear"


def test_one_study_of_ones_own_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--n-features", 4, "--n-hidden", 2, "--sparsity", 0, 0.9, "--n-seeds", 2, "--n-steps", 5]
    run(tmp_path, "--study", "sweep", *options)
    (folder,) = (tmp_path / "superposition").iterdir()
    assert {path.name for path in (folder / "results").iterdir()} == {"relu", "linear"}
    assert "report:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--n-features", 5, "--n-hidden", 1], "5 features in 1 dimension, each weighing 0.7 times as much as the one"),
        (["--n-features", 6, "--importance", 1], "6 features in 5 dimensions, all of equal importance"),
        (["--n-features", 6, "--importance", 1.5], "6 features in 5 dimensions, each weighing 1.5 times as much"),
    ],
)
def test_a_report_says_the_sizes_that_were_trained(tmp_path: Path, options: list[object], said: str) -> None:
    run(tmp_path, "--study", "sweep", *options, "--sparsity", 0.5, "--n-seeds", 1, "--n-steps", 2)
    (page,) = tmp_path.rglob("report.html")
    text = page.read_text()
    assert text.count(said) == 2  # the ReLU model and its linear control
    assert "Twenty" not in text
    assert "five dimensions" not in text


def test_a_study_of_phases_is_kept_and_goes_on(
    tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(**_: object) -> PhaseDiagram:
        raise KeyboardInterrupt

    second = command.STEPS["phase_3_2"]
    monkeypatch.setitem(command.STEPS, "phase_3_2", command.Step(**(vars(second) | {"compute": broken})))
    run(tmp_path, "--study", "phase", code=130)
    monkeypatch.setitem(command.STEPS, "phase_3_2", second)
    monkeypatch.setitem(
        command.STEPS, "phase_2_1", command.Step(**(vars(command.STEPS["phase_2_1"]) | {"compute": broken}))
    )
    run(tmp_path, "--study", "phase")
    assert "same phase" in capsys.readouterr().out
    (folder,) = (tmp_path / "superposition").iterdir()
    assert {path.name for path in (folder / "results").iterdir()} == {"phase_2_1", "phase_3_2"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--n-features", 9], "--n-features needs a --study that takes it: sweep, importance, geometry"),
        (["--study", "sweep", "--importance", 0.5, 0.9], "give one importance; several are what --study importance"),
        (["--study", "importance", "--sparsity", 0.5, 0.9], "give one sparsity; several are what --study sweep"),
        (["--study", "importance", "--importance", -1], "importances are above 0"),
        (["--study", "phase", "--sparsity", 0.5], "--sparsity needs a --study that takes it"),
        (["--study", "sweep", "--sparsity", 1.0], "from 0 to below 1, not 1"),
        (["--study", "computation", "--n-steps", 0], "n_steps is 0"),
        (["--study", "privileged", "--n-hidden", 50], "50 hidden dimensions for 10 features"),
        (["--device", "tpu"], "device"),
    ],
)
def test_refusals_are_one_sentence_and_leave_no_run(
    tmp_path: Path, options: list[object], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, *options, code=2)
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.rglob("config.yaml"))
