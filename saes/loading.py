"""`load`: a dictionary from a directory or from the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from interp.errors import InputError
from interp.models.hub import files_from_hub
from saes.architectures import Dictionary
from saes.formats import native


def load(path_or_hub_id: str | Path, sae_id: str = "", *, revision: str | None = None) -> Dictionary:
    """A dictionary in SAELens's layout, in its inference form.

    path_or_hub_id: a directory, or a repository on the hub as owner/name. sae_id: the folder of one dictionary in it,
    as SAELens calls it, such as blocks.8.hook_resid_pre; it may also follow the repository's name after a slash.
    Raises InputError when nothing is there, or when what is there cannot be read.
    """
    directory = Path(path_or_hub_id).expanduser() / sae_id
    if directory.is_dir():
        return native.read(directory)
    parts = [part for part in str(path_or_hub_id).split("/") if part]
    if directory.is_absolute() or len(parts) < 2 or parts[0] in (".", ".."):
        raise InputError(f"there is no directory {directory}; give one, or a repository on the hub as owner/name")
    folder = "/".join([*parts[2:], *([sae_id] if sae_id else [])])
    return native.read(_from_hub("/".join(parts[:2]), folder, revision))


def _from_hub(repository: str, folder: str, revision: str | None) -> Path:
    names = (native.CONFIG, native.WEIGHTS, native.SPARSITY)
    wanted = [f"{folder}/{name}" if folder else name for name in names]
    return files_from_hub(repository, wanted, revision) / folder
