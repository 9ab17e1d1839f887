"""`interp <command> ...`: finds the command, reads its options, and turns errors into one sentence.

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
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from interp.errors import InputError, StorageError, nearest

COMMANDS: dict[str, tuple[str, str]] = {
    "models": ("interp.cli.models", "list the models that can be loaded, and which are in the cache"),
    "heads": ("interp.cli.heads", "score attention heads: previous token, duplicate token, induction"),
    "heads copying": ("interp.cli.head_copying", "does a head raise the logit of the token it attends to?"),
    "heads names": ("interp.cli.head_names", "which heads would predict, or suppress, a name they attend to?"),
    "heads eigenvalues": ("interp.cli.head_eigenvalues", "do a head's weights copy (OV) and match (QK)?"),
    "heads composition": (
        "interp.cli.head_composition",
        "which heads read, by their weights, what earlier ones write?",
    ),
    "heads in-context": ("interp.cli.head_in_context", "how much better is the model late in a text than early?"),
    "heads knock-out": ("interp.cli.head_knock_out", "what becomes of the loss when heads fall silent?"),
    "lens": ("interp.cli.lens", "read predictions layer by layer, and which component writes them"),
    "patch": ("interp.cli.patch", "find where the information is by patching activations between prompts"),
    "paths": ("interp.cli.paths", "find which heads send it to which, or to the logits"),
    "nodes": ("interp.cli.nodes", "estimate the effect of patching every node at once, and check the estimate"),
    "circuit": ("interp.cli.circuit", "find the edges that carry it, and judge them against random circuits"),
    "circuit ground-truth": ("interp.cli.circuit_ground_truth", "how well do methods find known circuits?"),
    "look": ("interp.cli.look", "see attention, lens and attribution of one prompt at once"),
    "reproduce": ("interp.cli.reproduce", "run a published experiment and write its report"),
    "report": ("interp.cli.report", "write the HTML report of a run"),
    "runs": ("interp.cli.runs", "list, show and compare runs"),
}
"""Name of each command, of one word or two: its module, and what it does in one line."""
FIRST = {"heads": "scores", "circuit": "find"}
"""Commands with further ones under them: another name of the command itself."""

MAX_WIDTH = 100
"""Columns of a paragraph of help, however wide the terminal is."""
USER_ERROR = 2
INTERRUPTED = 130
BROKEN_PIPE = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 2 for a mistake of the user, 130 after Ctrl-C."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help", "help"):
        print(_help())
        return 0
    if name == "--version":
        print(_version())
        return 0
    try:
        code = _run(*_command(name, arguments[1:]))
        sys.stdout.flush()
        return code
    except (InputError, StorageError) as error:
        return _fail(str(error))
    except KeyboardInterrupt as interrupt:
        print("; ".join(["interrupted", *getattr(interrupt, "__notes__", [])]), file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # `interp ... | head`: what is left has no reader
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE


def _command(name: str, arguments: list[str]) -> tuple[str, list[str]]:
    """The command that is meant, of one word or two, and what is left of the arguments."""
    if name not in COMMANDS:
        raise InputError(f"there is no command {name!r}{nearest(name, (name for name in COMMANDS if ' ' not in name))}")
    if name not in FIRST or not arguments or arguments[0].startswith("-"):
        return name, arguments
    second, rest = arguments[0], arguments[1:]
    if second == FIRST[name]:
        return name, rest
    if f"{name} {second}" not in COMMANDS:
        under = [FIRST[name], *(full.split()[1] for full in _under(name))]
        raise InputError(f"there is no command 'interp {name} {second}'{nearest(second, under)}")
    return f"{name} {second}", rest


def _check_models(arguments: list[str]) -> None:
    if any(argument.startswith("--model") for argument in arguments):
        from interp.cli.model_names import check_model_names  # here: `interp --help` must not wait for it

        check_model_names(arguments)


def _under(name: str) -> list[str]:
    return [full for full in COMMANDS if full.startswith(f"{name} ")]


def _run(name: str, arguments: list[str]) -> int:
    if "--help" not in arguments and "-h" not in arguments:
        _check_models(arguments)
    module = _module(COMMANDS[name][0])
    import tyro  # here: `interp --help` must not wait for it

    described = inspect.cleandoc(module.__doc__ or COMMANDS[name][1])
    if under := _under(name):
        described += "\n\nOther questions, each with its own --help:\n" + "\n".join(_lines(under, "    interp "))
    config = tyro.cli(
        module.Config,
        prog=f"interp {name}",
        description=description_of(described),
        args=arguments,
        config=(tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone),
    )
    return module.main(config)


def _lines(names: Sequence[str], indent: str) -> list[str]:
    width = max(len(name) for name in names)
    return [f"{indent}{name:<{width}}  {COMMANDS[name][1]}" for name in names]


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


def _module(path: str) -> ModuleType:
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name != path:
            raise
        raise InputError(f"this installation lacks {path}; install interp-workbench again") from None


def _help() -> str:
    return "\n".join(
        [
            "usage: interp <command> [options]",
            "",
            "Questions you ask a language model. Every command prints a short table and the path of what it wrote.",
            "",
            *_lines(list(COMMANDS), "  "),
            "",
            "`interp <command> --help` explains a command; `interp --version` prints the version.",
        ]
    )


def _version() -> str:
    from importlib import metadata

    try:
        return f"interp-workbench {metadata.version('interp-workbench')}"
    except metadata.PackageNotFoundError:
        return "interp-workbench (not installed)"


def _fail(message: str) -> int:
    """Print one sentence, red where there are colours. Plain codes, since rich would read [brackets] as its markup."""
    red, end = ("\033[31m", "\033[0m") if sys.stderr.isatty() and "NO_COLOR" not in os.environ else ("", "")
    print(f"{red}interp: {message}{end}", file=sys.stderr)
    return USER_ERROR


if __name__ == "__main__":
    raise SystemExit(main())
