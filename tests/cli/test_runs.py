from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from interp.cli import main as cli
from interp.results import Axis, Provenance, Result, Values
from interp.runs import open_run


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two finished runs and a failed one."""

    def result(shift: float) -> Result:
        values = {
            "[effect]": Values(torch.arange(3.0) + shift, (Axis("layer", (0, 1, 2)),), unit="nats"),
            "loss": Values(torch.tensor(1.5), ()),
        }
        return Result(values=values, settings={}, provenance=Provenance({}, {}, 0, {}, "", ""))

    for n, shift in ((1, 0.0), (2, 0.25)):
        with open_run("ioi", {"model": "toy/induction", "n": n, "task": {"seed": n}}, root=tmp_path) as run:
            run.step("heads", lambda shift=shift: result(shift))
    with pytest.raises(RuntimeError), open_run("heads", {}, root=tmp_path):
        raise RuntimeError("out of [luck]")
    return tmp_path


@pytest.fixture
def interp(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: object, code: int = 0) -> str:
        assert cli.main(["runs", *(str(a) for a in arguments)]) == code
        captured = capsys.readouterr()
        return captured.err if code else captured.out

    return run


def test_ls_lists_the_last_run_first(root: Path, interp: Callable[..., str]) -> None:
    lines = interp("ls", "--root", root).splitlines()
    assert lines[0].split() == ["status", "started", "time", "steps", "run", "settings"]
    assert [line.split()[0] for line in lines[1:]] == ["failed", "finished", "finished"]
    assert [name in line for name, line in zip(("heads/", "ioi/", "ioi/"), lines[1:])] == [True] * 3
    assert "model=toy/induction, n=2, ..." in lines[2]
    assert "2 older runs are not listed" in interp("ls", "--root", root, "--n", 1)
    assert "no runs in" in interp("ls", "--root", root / "nothing")


def test_ls_fits_an_ordinary_terminal(root: Path, interp: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    with open_run(
        "reproduce-induction",
        {"model": "smollm2-135m", "quick": True, "n": None, "weights_sha256": "0" * 64},
        root=root,
    ) as run:
        pass
    monkeypatch.setenv("COLUMNS", "80")
    lines = interp("ls", "--root", root).splitlines()
    assert lines[0].split() == ["status", "time", "steps", "run"]
    assert lines[1].split()[0] == "finished"
    assert lines[1].endswith(f"reproduce-induction/{run.directory.name}")
    assert lines[2].strip() == "model=smollm2-135m, quick=True, ..."
    assert all(len(line) <= 80 for line in lines)
    assert len(lines) == 1 + 2 * 3 + 1, "a run without settings takes one line"
    for line in lines:
        if line.startswith("finished"):  # what is listed can be given back
            name = line.split()[-1]
            assert interp("show", name, "--root", root).rstrip().replace("\n", "").endswith(name)


def test_show_names_settings_values_and_the_path(root: Path, interp: Callable[..., str]) -> None:
    shown = interp("show", "ioi/latest", "--root", root)
    assert "task.seed" in shown
    assert "[effect] [layer 3] nats" in shown
    assert "loss = 1.5" in shown
    assert str(root / "ioi") in shown
    assert "RuntimeError: out of [luck]" in interp("show", "--root", root)


def test_diff_shows_settings_and_numbers(root: Path, interp: Callable[..., str]) -> None:
    older, newer = sorted((root / "ioi").iterdir(), key=lambda path: (path / "config.yaml").read_text())
    lines = [line.split() for line in interp("diff", older, newer, "--root", root).splitlines()]
    assert ["n", "1", "2"] in lines
    assert ["heads", "[effect]", "3", "3", "0.25", "0.25"] in lines
    assert ["heads", "loss", "1", "0", "0", "0"] in lines


def test_a_run_that_is_not_there_is_one_sentence(root: Path, interp: Callable[..., str]) -> None:
    assert "there is no run 'lastest'" in interp("show", "lastest", "--root", root, code=2)
