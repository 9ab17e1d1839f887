"""Locks between processes. The kernel releases them when their holder ends, even by kill -9."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from interp.errors import InputError, StorageError, storage_error

_LOG = logging.getLogger("interp")
_TAKEN = (errno.EAGAIN, errno.EACCES)


@contextlib.contextmanager
def lock(path: str | Path, message: str, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock file `path` (made if needed, never deleted) for the block.

    When another process holds it, say so once ("waiting for <holder>: <message>") and wait; Ctrl-C ends the waiting.
    With `wait=False` raise InputError instead, whose text is the message and the holder. Raises StorageError where
    the file cannot be made or the file system knows no locks.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise storage_error(error, path) from error
    try:
        if not _try(descriptor, path, patience=0.0 if wait else 0.25):
            if not wait:
                raise InputError(f"{message} ({_holder(path)})")
            _LOG.warning("waiting for %s: %s", _holder(path), message)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        _sign(descriptor)
        yield
    finally:
        os.close(descriptor)


def is_locked(path: str | Path) -> bool:
    """Whether a living process holds the lock file `path`."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except OSError as error:
        return error.errno in _TAKEN
    finally:
        os.close(descriptor)


def _try(descriptor: int, path: Path, patience: float) -> bool:
    """Take the lock now, or within a moment: `is_locked` of another process holds it for some microseconds."""
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError as error:
            if error.errno not in _TAKEN:
                reason = "its file system has no locks; use a local directory (INTERP_CACHE moves the cache)"
                raise StorageError(f"cannot lock {path}: {reason}") from error
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.02)


def _sign(descriptor: int) -> None:
    """Write who holds the lock, for the message of those who wait. Not needed for locking, so a full disk is fine."""
    with contextlib.suppress(OSError):
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, _signature().encode(), 0)


def _signature() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _holder(path: Path) -> str:
    with contextlib.suppress(OSError, UnicodeDecodeError):
        holder = path.read_text(encoding="utf-8")
        return "this process itself" if holder == _signature() else holder or "another process"
    return "another process"
