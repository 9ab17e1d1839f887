"""Checkpoints: everything that decides the rest of a training, written whole or not at all.

    checkpoints/00001200/state.safetensors     tensors: "<dictionary>/..." of every engine, "stream/..." of the data
    checkpoints/00001200/state.json            plain values, the threads in use, and the hash of the other file

Names are those of whole tensors, so the layout does not depend on how many processes wrote it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from interp.errors import InputError, StorageError
from interp.runs import atomic_directory
from saes.tensor_files import write_tensors

_LOG = logging.getLogger("saes")
TENSORS, PLAIN = "state.safetensors", "state.json"
FORMAT = 1
KEPT = 2
"""Checkpoints that stay: the newest, and the one before it in case the disk loses the newest."""


def save_checkpoint(folder: Path, step: int, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> Path:
    """Write the state after `step` steps, then drop all but the newest checkpoints.

    Raises StorageError when the disk refuses; older checkpoints then still stand.
    """
    target = folder / f"{step:08d}"
    if target.exists():
        return target
    with atomic_directory(target) as directory:
        write_tensors(tensors, directory / TENSORS)
        stored = {
            "format": FORMAT,
            "step": step,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "sha256": _hash(directory / TENSORS),
            **plain,
        }
        (directory / PLAIN).write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    for old in _numbered(folder)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def check_room(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raise StorageError when the disk has no room for the checkpoints of such a state: better now than in hours."""
    needed = (KEPT + 1) * sum(value.numel() * value.element_size() for value in tensors.values())
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StorageError(
            f"the checkpoints of this training take {needed / 1e9:.2g} GB, and the disk of {folder} has "
            f"{free / 1e9:.2g} GB left; free some space, choose another directory, or a smaller shuffle buffer"
        )


def load_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """The newest checkpoint that is whole, or None where there is none; a damaged one is named and passed over."""
    for directory in reversed(_numbered(folder)):
        try:
            plain = json.loads((directory / PLAIN).read_text(encoding="utf-8"))
            if plain["format"] != FORMAT:
                raise InputError(f"its format is {plain['format']}, this version reads {FORMAT}")
            if _hash(directory / TENSORS) != plain["sha256"]:
                raise InputError("its tensors were altered or cut short")
            return load_file(directory / TENSORS), plain
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            _LOG.warning("the checkpoint %s cannot be used (%s); trying the one before it", directory, error)
    return None


def _numbered(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("[0-9]" * 8) if path.is_dir())


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
