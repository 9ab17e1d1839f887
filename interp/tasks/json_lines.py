"""Files that a user writes, one JSON object a line: what is wrong with them is said in one sentence."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from interp.errors import InputError, unknown


def text_of(path: Path) -> str:
    """What a file of text holds. Raises InputError for one that cannot be read or is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as problem:
        raise InputError(f"cannot read {path}: {problem.strerror}") from None
    except UnicodeDecodeError as problem:
        raise InputError(f"{path.name} is not UTF-8 text (byte {problem.start}); save it as UTF-8") from None


def object_of(line: str, required: Sequence[str], optional: Sequence[str]) -> dict[str, Any]:
    """A line as an object with known fields. Raises InputError for anything else, naming the nearest field."""
    try:
        given = json.loads(line)
    except json.JSONDecodeError as problem:
        raise InputError(f"not JSON ({problem.msg} at column {problem.colno})") from None
    if not isinstance(given, dict):
        raise InputError(f"must be a JSON object, not {type(given).__name__}")
    for name in given:
        if name not in (*required, *optional):
            raise unknown("field", name, (*required, *optional))
    for name in required:
        if name not in given:
            raise InputError(f"the field {name!r} is missing")
    return given
