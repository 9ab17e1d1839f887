"""`load`: a dictionary from a directory or from the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from interp.errors import InputError
from interp.models.hub import files_from_hub
from saes.architectures import Dictionary
from saes.formats import native


def load(path_or_hub_id: str | Path, sae_id: str = "", *, revision: str | None = None) -> Dictionary:
    """A dictionary in SAELens's layout, in its inference form.

    path_or_hub_id: a directory, or a repository on the hub, of which sae_id is the folder of one dictionary.
    Raises InputError when nothing is there, or when what is there cannot be read.
    """
    directory = Path(path_or_hub_id) / sae_id
    if directory.is_dir():
        return native.read(directory)
    if Path(path_or_hub_id).is_absolute() or str(path_or_hub_id).count("/") != 1:
        raise InputError(f"there is no directory {directory}; give one, or a repository on the hub as owner/name")
    return native.read(_from_hub(str(path_or_hub_id), sae_id, revision))


def _from_hub(repository: str, sae_id: str, revision: str | None) -> Path:
    prefix = f"{sae_id}/" if sae_id else ""
    wanted = [f"{prefix}{name}" for name in (native.CONFIG, native.WEIGHTS, native.SPARSITY)]
    return files_from_hub(repository, wanted, revision) / sae_id
