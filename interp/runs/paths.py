"""Files and directories that exist whole or not at all, whatever happens to the process that writes them."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

from interp.errors import storage_error

_NAME = "interp-workbench"
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EFBIG)
"""Errors of the disk that a block may run into, as opposed to anything else it does."""


def cache_dir() -> Path:
    """Where downloaded and converted things are kept: $INTERP_CACHE, else this platform's place. It may not exist."""
    if chosen := os.environ.get("INTERP_CACHE"):
        return Path(chosen).expanduser().absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / _NAME
    # The XDG rules: a relative path in the variable is to be ignored.
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / _NAME


def atomic_write(path: str | Path, content: str | bytes) -> Path:
    """Write a file that readers see with its old content or with all of the new one, never in between.

    Text is UTF-8. Parent directories are made. Raises StorageError when the disk is full, read-only or otherwise
    unwilling; the old file then still stands and nothing is left beside it.
    """
    path = Path(path)
    temporary = _sibling(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                file.write(content.encode("utf-8") if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        _sync_directory(path.parent)
    except OSError as error:
        raise storage_error(error, path) from error
    return path


@contextlib.contextmanager
def atomic_directory(path: str | Path) -> Iterator[Path]:
    """Fill a temporary directory beside `path`; it takes its name when the block ends well, and vanishes otherwise.

    What a killed process left half-written beside `path` is cleared first. Raises FileExistsError when `path` is
    already there, at the start or by the end (whoever came first is kept), and StorageError for a full or read-only
    disk; any other error of the block comes through as it is.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            raise FileExistsError(f"{path} already exists; delete it to have it made again")
        clear_abandoned(path)
        temporary, held = _claimed_sibling(path)
    except OSError as error:
        if isinstance(error, FileExistsError) and path.parent.is_dir():
            raise
        raise storage_error(error, path) from error
    try:
        yield temporary
        _sync_tree(temporary)
        _take_name(temporary, path)
    except OSError as error:
        if error.errno not in _DISK:  # a broken connection is an OSError too
            raise
        raise storage_error(error, path) from error
    finally:
        os.close(held)
        shutil.rmtree(temporary, ignore_errors=True)


def clear_abandoned(path: Path) -> int:
    """Remove temporary directories beside `path` whose writers are dead. Returns how many there were.

    A living writer holds a lock on its directory, which the kernel releases even after kill -9.
    """
    cleared = 0
    for left in path.parent.glob(f".{path.name[:100]}.*.tmp"):
        with contextlib.suppress(OSError):
            held = os.open(left, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left)
                cleared += 1
            finally:
                os.close(held)
    return cleared


def _sibling(path: Path) -> Path:
    """A fresh hidden name beside `path`: on the same disk, so that renaming is atomic."""
    return path.parent / f".{path.name[:100]}.{uuid.uuid4().hex[:12]}.tmp"


def _claimed_sibling(path: Path) -> tuple[Path, int]:
    """A new temporary directory and the descriptor that locks it."""
    while True:
        temporary = _sibling(path)
        temporary.mkdir()
        try:
            held = os.open(temporary, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:  # another writer took it for abandoned, since nobody held it yet
            continue
        with contextlib.suppress(OSError):  # a file system without locks: nobody will take it for abandoned then
            fcntl.flock(held, fcntl.LOCK_EX)
        if temporary.exists():  # else it was cleared just before the lock
            return temporary, held
        os.close(held)


def _take_name(temporary: Path, path: Path) -> None:
    if path.exists():
        raise FileExistsError(f"{path} was made by somebody else in the meantime")
    try:
        os.rename(temporary, path)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise FileExistsError(f"{path} was made by somebody else in the meantime") from error
        raise
    _sync_directory(path.parent)


def _sync_tree(directory: Path) -> None:
    """Push every file to the disk, so that the name never comes before the content."""
    for folder, _, files in os.walk(directory):
        for name in files:
            with open(os.path.join(folder, name), "rb") as file:
                os.fsync(file.fileno())
        _sync_directory(Path(folder))


def _sync_directory(directory: Path) -> None:
    with contextlib.suppress(OSError):  # some file systems cannot, and none needs it for consistency
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
