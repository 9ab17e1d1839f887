"""Running a command as a shell would: what it printed, and what it kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from interp.cli import main as command_line
from interp.results import Result, load

TOY = "toy/induction"
Ask = Callable[..., str]


def results_of(root: Path, command: str) -> dict[str, Result]:
    """The results of the only run of a command, after checking that it has its report."""
    (folder,) = (root / command).iterdir()
    page = (folder / "report.html").read_text()
    assert all(heading in page for heading in ("In short", "Figures"))
    return {path.name: load(path) for path in (folder / "results").iterdir()}


def rows_under(out: str, title: str) -> list[list[str]]:
    """The rows of the printed table whose title begins with these words, without its header."""
    lines = out.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(title)) + 2
    rows = []
    for line in lines[start:]:
        if not line.startswith(" "):
            break
        rows.append(line.split())
    return rows


@pytest.fixture
def ask(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Ask:
    """ask("heads copying", "--n", 3): what it printed; with code=2 the one sentence it refused with."""

    def run(command: str, *options: object, model: str = TOY, code: int = 0) -> str:
        arguments = [*command.split(), "--model", model, "--out", str(tmp_path), *map(str, options)]
        assert command_line.main(arguments) == code
        printed = capsys.readouterr()
        if code == 0:
            return printed.out
        assert printed.err.startswith("interp: ")
        assert printed.err.count("\n") == 1
        assert not list(tmp_path.rglob("config.yaml")), "what was refused leaves no run"
        return printed.err

    return run
