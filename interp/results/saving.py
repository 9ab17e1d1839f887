"""Results on disk: `result.json` for everything a person reads, one safetensors file for the arrays.

`result.json` names its arrays file, whose name carries the hash of its content, and is replaced last and at once. A
reader therefore sees the old result, the new one, or none, whatever happens to the writer; other files in the
directory are left alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from interp.errors import InputError, storage_error
from interp.results.axes import Axis, Values
from interp.results.describing import FORMAT, RESULT_FILE, arrays_file, read_description
from interp.results.plain import JSON, to_json


def write(directory: Path, description: dict[str, JSON], values: Mapping[str, Values]) -> Path:
    """Store a described result and its values in `directory`, at once or not at all. Returns the directory.

    Raises StorageError, in one sentence, when the disk is full, read-only or otherwise unwilling.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        previous = _arrays_named_in(directory)
        arrays = {name: v.data for name, v in values.items() if v.data.ndim}
        file = _write_arrays(directory, arrays) if arrays else None
        stored = {"format": FORMAT, **description, "arrays": file}
        stored["values"] = {name: _describe(v) for name, v in values.items()}
        text = to_json(stored, indent=1) + "\n"
        with _temporary(directory) as temporary:
            temporary.write_text(text, encoding="utf-8")
            _settle(temporary, directory / RESULT_FILE)
        if previous and previous != file:
            (directory / previous).unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(error, directory) from error
    except SafetensorError as error:  # its writer reports a full disk as "... (os error 28)"
        number = re.search(r"os error (\d+)", str(error))
        raise storage_error(OSError(int(number[1]) if number else None, str(error)), directory) from error
    return directory


def read(directory: Path) -> tuple[dict[str, JSON], dict[str, Values]]:
    """The description and the values that `write` stored. Raises InputError for a missing or damaged result."""
    description = read_description(directory)
    file = arrays_file(description)
    arrays = _read_arrays(directory / file) if file else {}
    try:
        return description, {name: _values(v, arrays.get(name)) for name, v in description["values"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"the result in {directory} is damaged ({error}); delete it and compute it again") from error


def _describe(values: Values) -> JSON:
    described: dict[str, JSON] = {
        "axes": [{"name": a.name, "labels": list(a.labels)} for a in values.axes],
        "dtype": str(values.data.dtype).removeprefix("torch."),
        "unit": values.unit,
        "description": values.description,
    }
    if values.data.ndim == 0:  # numbers worth reading without any library
        described["scalar"] = values.data.item()
    return described


def _values(described: JSON, array: Tensor | None) -> Values:
    axes = tuple(Axis(a["name"], tuple(a["labels"])) for a in described["axes"])
    if array is None:
        array = torch.tensor(described["scalar"], dtype=getattr(torch, described["dtype"]))
    return Values(array, axes, unit=described["unit"], description=described["description"])


def _write_arrays(directory: Path, arrays: Mapping[str, Tensor]) -> str:
    """Write the arrays into a file whose name carries their hash, and return the name."""
    with _temporary(directory) as temporary:
        save_file(_unshared(arrays), temporary)
        name = f"arrays-{_hash(temporary)}.safetensors"
        _settle(temporary, directory / name)
    return name


def _unshared(arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The arrays, copied where they view or share memory, which safetensors refuses."""
    seen: set[int] = set()
    out = {}
    for name, array in arrays.items():
        storage = array.untyped_storage()
        whole = storage.nbytes() == array.numel() * array.itemsize
        out[name] = array if whole and storage.data_ptr() not in seen else array.clone()
        seen.add(storage.data_ptr())
    return out


def _read_arrays(path: Path) -> dict[str, Tensor]:
    try:
        if path.name != f"arrays-{_hash(path)}.safetensors":
            raise InputError(f"{path} is damaged: its content does not match the hash in its name; compute it again")
        return load_file(path)
    except FileNotFoundError:
        raise InputError(f"the result in {path.parent} lacks its {path.name}; compute it again") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _arrays_named_in(directory: Path) -> str | None:
    """The arrays file of the result that is about to be replaced, if there is a readable one."""
    try:
        return arrays_file(read_description(directory))
    except InputError:
        return None


@contextlib.contextmanager
def _temporary(directory: Path) -> Iterator[Path]:
    path = directory / f".writing-{uuid.uuid4().hex}.tmp"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _settle(temporary: Path, path: Path) -> None:
    """Give a file its name once its bytes are on the disk, so that a crash never leaves a name without content."""
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)
