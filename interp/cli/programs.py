"""`Program`: a command line of several commands. It finds the command, reads its options, and turns errors into one
sentence.

A command is a module with a `Config` (a frozen dataclass, or a union of them for subcommands; each field with a
docstring, which is its help) and `main(config) -> int`. Only the module that was asked for is imported. Its docstring
is what `--help` begins with: paragraphs are fitted to the terminal, indented lines (examples) stay as they are.
"""

from __future__ import annotations

import importlib
import inspect
import itertools
import os
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from interp.errors import InputError, StorageError, nearest

MAX_WIDTH = 100
"""Columns of a paragraph of help, however wide the terminal is."""
USER_ERROR = 2
INTERRUPTED = 130
BROKEN_PIPE = 1


@dataclass(frozen=True)
class Program:
    """A command line, such as `interp`.

    name: of the program. purpose: what it is for, in a sentence or two. commands: by the name of each, of one word or
    two, its module and what it does in one line. first: commands with further ones under them, and another name of the
    command itself.
    """

    name: str
    purpose: str
    commands: Mapping[str, tuple[str, str]]
    first: Mapping[str, str] = field(default_factory=dict)

    def main(self, argv: Sequence[str] | None = None) -> int:
        """Run one command and return its exit code: 2 for a mistake of the user, 130 after Ctrl-C."""
        arguments = list(sys.argv[1:] if argv is None else argv)
        name = arguments[0] if arguments else "--help"
        if name in ("-h", "--help", "help"):
            print(self._help())
            return 0
        if name == "--version":
            print(_version())
            return 0
        try:
            code = self._run(*self.find(name, arguments[1:]))
            sys.stdout.flush()
            return code
        except (InputError, StorageError) as error:
            return self._fail(str(error))
        except KeyboardInterrupt as interrupt:
            print(_interrupted(interrupt, fresh="--fresh" in arguments), file=sys.stderr)
            return INTERRUPTED
        except BrokenPipeError:  # `interp ... | head`: what is left has no reader
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return BROKEN_PIPE

    def find(self, name: str, arguments: list[str]) -> tuple[str, list[str]]:
        """The command that is meant, of one word or two, and what is left of the arguments."""
        if name not in self.commands:
            known = [name for name in self.commands if " " not in name]
            raise InputError(f"there is no command {name!r}{nearest(name, known)}")
        if name not in self.first or not arguments or arguments[0].startswith("-"):
            return name, arguments
        second, rest = arguments[0], arguments[1:]
        if second == self.first[name]:
            return name, rest
        if f"{name} {second}" not in self.commands:
            under = [self.first[name], *(full.split()[1] for full in self._under(name))]
            raise InputError(f"there is no command '{self.name} {name} {second}'{nearest(second, under)}")
        return f"{name} {second}", rest

    def _under(self, name: str) -> list[str]:
        return [full for full in self.commands if full.startswith(f"{name} ")]

    def _run(self, name: str, arguments: list[str]) -> int:
        if "--help" not in arguments and "-h" not in arguments:
            _check_models(arguments)
        module = module_of(self.commands[name][0])
        import tyro  # here: `interp --help` must not wait for it

        described = inspect.cleandoc(module.__doc__ or self.commands[name][1])
        if under := self._under(name):
            listed = "\n".join(self._lines(under, f"    {self.name} "))
            described += f"\n\nOther questions, each with its own --help:\n{listed}"
        config = tyro.cli(
            module.Config,
            prog=f"{self.name} {name}",
            description=description_of(described),
            args=arguments,
            config=(tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone),
        )
        return module.main(config)

    def _lines(self, names: Sequence[str], indent: str) -> list[str]:
        width = max(len(name) for name in names)
        return [f"{indent}{name:<{width}}  {self.commands[name][1]}" for name in names]

    def _help(self) -> str:
        return "\n".join(
            [
                f"usage: {self.name} <command> [options]",
                "",
                self.purpose,
                "",
                *self._lines(list(self.commands), "  "),
                "",
                f"`{self.name} <command> --help` explains a command; `{self.name} --version` prints the version.",
            ]
        )

    def _fail(self, message: str) -> int:
        """Print one sentence, red where there are colours. Plain codes: rich would read [brackets] as its markup."""
        red, end = ("\033[31m", "\033[0m") if sys.stderr.isatty() and "NO_COLOR" not in os.environ else ("", "")
        print(f"{red}{self.name}: {message}{end}", file=sys.stderr)
        return USER_ERROR


def _interrupted(interrupt: KeyboardInterrupt, fresh: bool) -> str:
    """What Ctrl-C leaves, and how to go on. What interrupts with words of its own has said so itself.

    fresh: whether the command was told to begin anew, and would be again.
    """
    kept = getattr(interrupt, "__notes__", [])
    if str(interrupt):
        return "; ".join([str(interrupt), *kept])
    if not kept:
        return "interrupted before there was anything to keep; run the same command again to begin anew"
    again = f"run the same command again{', without --fresh,' if fresh else ''} to go on"
    return "; ".join(["interrupted", *kept, again])


def module_of(path: str) -> ModuleType:
    """A command's module. Raises InputError where this installation lacks it."""
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name != path:
            raise
        raise InputError(f"this installation lacks {path}; install interp-workbench again") from None


def _check_models(arguments: list[str]) -> None:
    if any(argument.startswith("--model") for argument in arguments):
        from interp.cli.model_names import check_model_names  # here: `interp --help` must not wait for it

        check_model_names(arguments)


class _AsIs(str):
    """Text that tyro shows as it is.

    Left to itself it takes every description apart into lines, joins those that begin with a letter, breaks before all
    others, doubles a blank line before an indented one, and wraps nothing.
    """

    def split(self, *_: Any) -> list[str]:
        return [str(self)]


def description_of(docstring: str) -> str:
    """What `--help` begins with: paragraphs of a docstring wrapped to the terminal, indented lines as they are."""
    width = min(shutil.get_terminal_size().columns, MAX_WIDTH)
    shown: list[str] = []
    for indented, group in itertools.groupby(inspect.cleandoc(docstring).splitlines(), _kind):
        lines = list(group)
        shown += textwrap.wrap(" ".join(lines), width) if indented is False else lines
    return _AsIs("\n".join(shown))


def _kind(line: str) -> bool | None:
    """Whether a line is indented; None for a blank one."""
    return line.startswith(" ") if line else None


def _version() -> str:
    from importlib import metadata

    try:
        return f"interp-workbench {metadata.version('interp-workbench')}"
    except metadata.PackageNotFoundError:
        return "interp-workbench (not installed)"
