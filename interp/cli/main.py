"""`interp <command> ...`: finds the command, reads its options, and turns errors into one sentence.

A command is a module with a `Config` (a frozen dataclass, or a union of them for subcommands; each field with a
docstring, which is its help) and `main(config) -> int`. Only the module that was asked for is imported. Its docstring
is what `--help` begins with: paragraphs are fitted to the terminal, indented lines (examples) stay as they are.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from interp.errors import InputError, StorageError, nearest

COMMANDS: dict[str, tuple[str, str]] = {
    "models": ("interp.cli.models", "list the models that can be loaded, and which are in the cache"),
    "heads": ("interp.cli.heads", "score attention heads: previous token, duplicate token, induction"),
    "lens": ("interp.cli.lens", "read predictions layer by layer, and which component writes them"),
    "patch": ("interp.cli.patch", "find where the information is by patching activations between prompts"),
    "look": ("interp.cli.look", "see attention, lens and attribution of one prompt at once"),
    "reproduce": ("interp.cli.reproduce", "run a published experiment and write its report"),
    "report": ("interp.cli.report", "write the HTML report of a run"),
    "runs": ("interp.cli.runs", "list, show and compare runs"),
}
"""Name of each command: its module, and what it does in one line."""

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
    if name not in COMMANDS:
        return _fail(f"there is no command {name!r}{nearest(name, COMMANDS)}")
    try:
        code = _run(name, arguments[1:])
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


def _run(name: str, arguments: list[str]) -> int:
    module = _module(COMMANDS[name][0])
    import tyro  # here: `interp --help` must not wait for it

    description = description_of(module.__doc__ or COMMANDS[name][1])
    config = tyro.cli(module.Config, prog=f"interp {name}", description=description, args=arguments)
    return module.main(config)


def description_of(docstring: str) -> str:
    """A docstring such that tyro shows it as it is meant: paragraphs wrapped, indented lines (examples) as written.

    Left to itself tyro joins lines that begin with a letter, breaks before all others, and doubles a blank line before
    an indented one.
    """
    shown: list[str] = []
    for line in inspect.cleandoc(docstring).splitlines():
        if line.startswith(" "):
            shown = shown[:-1] if shown and not shown[-1] else shown
            shown.append(line)
        elif line and shown and shown[-1] and not shown[-1].startswith(" "):
            shown[-1] += f" {line}"
        else:
            shown.append(line)
    return "\n".join(shown)


def _module(path: str) -> ModuleType:
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name != path:
            raise
        raise InputError(f"this installation lacks {path}; install interp-workbench again") from None


def _help() -> str:
    width = max(len(name) for name in COMMANDS)
    lines = [f"  {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: interp <command> [options]",
            "",
            "Questions you ask a language model. Every command prints a short table and the path of what it wrote.",
            "",
            *lines,
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
