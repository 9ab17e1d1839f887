"""Writing tensors to a file, with a sentence that a user can act on where the disk refuses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from interp.errors import storage_error


def write_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write a safetensors file. Raises StorageError when the disk is full, read-only or otherwise unwilling."""
    try:
        save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, path)
    except SafetensorError as error:  # the library reports what the disk said as "... (os error 28)"
        number = re.search(r"os error (\d+)", str(error))
        raise storage_error(OSError(int(number[1]) if number else None, str(error)), path) from error
