"""Reading what a stored result says about itself (kind, axes, settings) without its arrays and without torch."""

from __future__ import annotations

import json
from pathlib import Path

from interp.errors import InputError
from interp.results.plain import JSON, from_json

RESULT_FILE = "result.json"
FORMAT = 1
"""Raised when a change of the files would mislead an older reader."""


def read_description(directory: Path) -> dict[str, JSON]:
    """The content of `result.json`. Raises InputError when it is missing, damaged, or of a newer format."""
    path = directory / RESULT_FILE
    try:
        description = from_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"there is no stored result in {directory} (no {RESULT_FILE})") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is damaged ({error}); delete it and compute it again") from error
    if not isinstance(description, dict) or not {"format", "kind", "values", "arrays"} <= description.keys():
        raise InputError(f"{path} is not a stored result of this project")
    if description["format"] > FORMAT:
        raise InputError(f"{path} was written by a newer version (format {description['format']}); upgrade to read it")
    return description


def arrays_file(description: dict[str, JSON]) -> str | None:
    """Name of the file with the arrays, or None when every value is a scalar. Never a path out of the directory."""
    name = description["arrays"]
    if name is None or (isinstance(name, str) and name == Path(name).name):
        return name
    raise InputError(f"the stored result names its arrays {name!r}, which is not the name of a file beside it")
