"""`saes <command> ...`: the table of its commands; how a command is found and run stands in `interp.cli.programs`."""

from __future__ import annotations

from collections.abc import Sequence

from interp.cli.programs import Program

COMMANDS: dict[str, tuple[str, str]] = {
    "train": ("saes.cli.train", "train dictionaries on a model's activations, as a YAML file says"),
    "evaluate": ("saes.cli.evaluate", "measure a dictionary on documents it was not trained on, inside its model"),
    "show": ("saes.cli.show", "say what a dictionary is, or how far a training is"),
}
"""Name of each command: its module, and what it does in one line."""

PROGRAM = Program(
    "saes",
    "Sparse dictionaries of a language model's activations. Every command prints a short table.",
    COMMANDS,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 2 for a mistake of the user, 130 after Ctrl-C."""
    return PROGRAM.main(argv)


if __name__ == "__main__":
    raise SystemExit(main())
