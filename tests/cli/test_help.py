"""`--help` of every command: examples on lines of their own, no wider than a terminal, of options that exist."""

from __future__ import annotations

import shlex

import pytest
import tyro

from interp.cli import main as command_line
from interp.cli.programs import module_of

WIDTH = 80
# Its experiments are subcommands of its own, and so are those of runs.
WITH_SUBCOMMANDS = ("reproduce", "runs")


def help_of(command: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    with pytest.raises(SystemExit) as ended:
        command_line.main([*command.split(), "--help"])
    assert ended.value.code == 0
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("command", command_line.COMMANDS)
def test_help_fits_a_terminal(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(WIDTH))
    lines = help_of(command, capsys)
    assert lines[0].startswith(f"usage: interp {command}")
    # The first box, whose border is of another kind where output is no UTF-8.
    end = next(i for i, line in enumerate(lines) if line.strip("╭─╮ -").strip() in ("options", "positional arguments"))
    # What tyro writes itself is not ours to break, and the table of commands needs its length.
    ours = [line for line in lines[1:end] if not line.startswith("    interp heads ")]
    assert [line for line in ours if len(line) > WIDTH] == []
    assert not any(line.count("interp ") > 1 and line.startswith("    ") for line in lines[:end])
    assert "{None}" not in "\n".join(lines)


@pytest.mark.parametrize("command", [name for name in command_line.COMMANDS if name not in WITH_SUBCOMMANDS])
def test_examples_are_commands_that_parse(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    lines = help_of(command, capsys)
    start = lines.index("Try:") + 1 if "Try:" in lines else len(lines)
    examples = []
    for line in lines[start:]:
        if not line.startswith("    interp "):
            break
        # What an example does stands two spaces or more behind it.
        examples.append(line.strip().partition("  ")[0])
    assert examples or command in ("models",)
    for example in examples:
        name, rest = command_line.PROGRAM.find(*_split(example))
        assert name == command
        module = module_of(command_line.COMMANDS[name][0])
        tyro.cli(module.Config, args=rest, config=(tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone))


def _split(example: str) -> tuple[str, list[str]]:
    words = shlex.split(example)
    return words[1], words[2:]
