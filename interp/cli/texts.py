"""Texts on the command line: as they stand, or in a file; and tokens in tables."""

from __future__ import annotations

from pathlib import Path

from rich.markup import escape

from interp.errors import InputError


def read_text(given: str) -> str:
    """The text itself, or what is in the file when the argument ends in .txt."""
    if not given.endswith(".txt"):
        return given
    try:
        return Path(given).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise InputError(f"cannot read {given}: {reason}") from error


def quoted(token: str) -> str:
    """A token with its spaces visible, safe in a table of rich."""
    return escape(repr(token))
