from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from interp.cli import main as cli
from interp.errors import InputError, StorageError
from interp.runs import open_run

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Config:
    n: int = 2
    """How many examples."""


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A command called `trial` that does nothing."""
    module = ModuleType("interp.cli.trial", "Try something.")
    module.Config = Config  # type: ignore[attr-defined]
    module.main = lambda config: config.n  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "interp.cli.trial", module)
    monkeypatch.setitem(cli.COMMANDS, "trial", ("interp.cli.trial", "try something"))
    return module


def fail_with(error: BaseException) -> object:
    def main(_: object) -> int:
        raise error

    return main


def test_help_lists_every_command_at_once() -> None:
    heavy = "print('heavy', {'torch', 'rich', 'tyro'} & {*sys.modules})"
    program = f"import sys; from interp.cli.main import main; main([]); {heavy}"
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert time.monotonic() - began < 5
    for name, (_, text) in cli.COMMANDS.items():
        assert f"  {name} " in done.stdout
        assert text in done.stdout
    assert "heavy set()" in done.stdout


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_help_is_no_mistake(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 0
    assert capsys.readouterr().out.startswith("usage: interp <command>")


def test_an_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["reprot"]) == 2
    assert "there is no command 'reprot'; did you mean 'report'" in capsys.readouterr().err
    assert cli.main(["heads", "copyng"]) == 2
    error = capsys.readouterr().err
    assert "there is no command 'interp heads copyng'; did you mean 'copying'" in error
    assert "scores, copying, names, eigenvalues, composition, in-context, knock-out" in error


def test_options_reach_the_command(command: ModuleType) -> None:
    assert cli.main(["trial", "--n", "7"]) == 7


def test_help_of_a_command_shows_the_docstrings(command: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["trial", "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "usage: interp trial" in shown
    assert "Try something." in shown
    assert "How many examples." in shown


def test_a_command_may_have_others_under_it(
    command: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = ModuleType("interp.cli.trial_again", "Try again.")
    other.Config = Config  # type: ignore[attr-defined]
    other.main = lambda config: 100 + config.n  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "interp.cli.trial_again", other)
    monkeypatch.setitem(cli.COMMANDS, "trial again", ("interp.cli.trial_again", "try again"))
    monkeypatch.setitem(cli.FIRST, "trial", "once")
    codes = {"": 2, "--n 7": 7, "once --n 7": 7, "again": 102, "again --n 7": 107}
    assert {given: cli.main(["trial", *given.split()]) for given in codes} == codes
    with pytest.raises(SystemExit):
        cli.main(["trial", "--help"])
    assert "    interp trial again  try again" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["trial", "again", "--help"])
    assert "usage: interp trial again" in capsys.readouterr().out


def test_help_keeps_examples_on_their_lines(
    command: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    command.__doc__ = """Try something that takes a sentence,
    `which` goes on in the next line.

    Try:

        interp trial              once
        interp trial --n 2        twice

    And so on.
    """
    with pytest.raises(SystemExit):
        cli.main(["trial", "--help"])
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    examples = ["    interp trial              once", "    interp trial --n 2        twice"]
    at = lines.index("Try:")
    assert lines[at + 1 : at + 6] == ["", *examples, "", "And so on."]
    assert "sentence, `which` goes on" in " ".join(lines)
    assert not any(line.startswith("`which`") for line in lines)


def test_a_bad_option_is_a_mistake_of_the_user(command: ModuleType) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["trial", "--n", "seven"])
    assert ended.value.code == 2


@pytest.mark.parametrize("error", [InputError("no [layer] 9"), StorageError("no [layer] 9")])
def test_a_mistake_is_one_sentence(error: Exception, command: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    command.main = fail_with(error)  # type: ignore[attr-defined]
    assert cli.main(["trial"]) == 2
    assert capsys.readouterr().err == "interp: no [layer] 9\n"


def test_a_bug_keeps_its_traceback(command: ModuleType) -> None:
    command.main = fail_with(ValueError("a bug"))  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="a bug"):
        cli.main(["trial"])


def test_ctrl_c_says_what_is_kept_and_how_to_go_on(
    command: ModuleType, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def main(_: object) -> int:
        with open_run("trial", {}, root=tmp_path):
            raise KeyboardInterrupt

    command.main = main  # type: ignore[attr-defined]
    assert cli.main(["trial"]) == 130
    (directory,) = (tmp_path / "trial").iterdir()
    kept = f"interrupted; finished steps are kept in {directory}"
    assert capsys.readouterr().err == f"{kept}; run the same command again to go on\n"
    command.main = fail_with(KeyboardInterrupt())  # type: ignore[attr-defined]
    assert cli.main(["trial"]) == 130
    begun = "interrupted before there was anything to keep; run the same command again to begin anew\n"
    assert capsys.readouterr().err == begun
    command.main = fail_with(KeyboardInterrupt("stopped after step 3"))  # type: ignore[attr-defined]
    assert cli.main(["trial"]) == 130
    assert capsys.readouterr().err == "stopped after step 3\n"


def test_after_a_fresh_start_the_same_command_goes_on_without_fresh(
    command: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    @dataclass(frozen=True)
    class Fresh:
        fresh: bool = False
        """Begin anew."""

    interrupt = KeyboardInterrupt()
    interrupt.add_note("finished steps are kept")
    command.Config, command.main = Fresh, fail_with(interrupt)  # type: ignore[attr-defined]
    assert cli.main(["trial", "--fresh"]) == 130
    assert "run the same command again, without --fresh, to go on" in capsys.readouterr().err


def test_a_command_that_is_not_installed_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(cli.COMMANDS, "trial", ("interp.cli.not_there", ""))
    assert cli.main(["trial"]) == 2
    assert "this installation lacks interp.cli.not_there" in capsys.readouterr().err


def test_a_missing_dependency_is_not_taken_for_a_missing_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "needy_command.py").write_text("import package_that_is_not_there")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(cli.COMMANDS, "trial", ("needy_command", ""))
    with pytest.raises(ModuleNotFoundError, match="package_that_is_not_there"):
        cli.main(["trial"])


def test_a_reader_that_leaves_gets_no_traceback(tmp_path: Path) -> None:
    script = f"'{sys.executable}' -m interp.cli runs ls --root '{tmp_path}' | true"
    done = subprocess.run(["bash", "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stderr == ""
