"""The two errors a user can act on. Every room may raise them; the command line prints them as one sentence."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


class InputError(ValueError):
    """What was asked for cannot be done as asked; the message is one sentence that names the fix."""


class StorageError(OSError):
    """The disk refused (full, read-only, not a directory); the message is one sentence that names the fix."""


def nearest(wrong: object, valid: Iterable[object], *, limit: int = 8) -> str:
    """The end of a message about an unknown name: "; did you mean 'a' or 'b'?", else the valid names themselves."""
    import difflib  # here, since this file is read by every command's start

    names = [str(name) for name in valid]
    close = difflib.get_close_matches(str(wrong), names, n=3, cutoff=0.5)
    shown = ", ".join(names[:limit]) + (f", ... ({len(names)} in all)" if len(names) > limit else "")
    guess = f"; did you mean {' or '.join(repr(name) for name in close)}?" if close else ";"
    return f"{guess} valid: {shown or 'none'}"


def unknown(what: str, name: object, known: Iterable[object], *, limit: int = 8) -> InputError:
    """An error for a name that does not exist, with the nearest names that do.

    `what` is the kind of thing in the singular ("axis", "layer"), `known` all valid names. Raise what is returned.
    """
    return InputError(f"there is no {what} {name!r}{nearest(name, known, limit=limit)}")


def storage_error(error: OSError, path: str | Path) -> StorageError:
    """Say in one sentence why `path` could not be written. Raise what is returned `from` the original error."""
    import errno

    reasons = {
        errno.ENOSPC: "the disk is full; free some space or choose another directory",
        errno.EDQUOT: "your disk quota is used up; free some space or choose another directory",
        errno.EROFS: "the file system is read-only; choose another directory",
        errno.EACCES: "permission is denied; choose a directory you may write to",
        errno.EPERM: "permission is denied; choose a directory you may write to",
        errno.ENOTDIR: "a file stands where a directory is needed; move it or choose another directory",
        errno.EEXIST: "a file stands where a directory is needed; move it or choose another directory",
        errno.EISDIR: "a directory stands where a file is needed; move it or choose another name",
        errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
    }
    reason = reasons.get(error.errno or 0, error.strerror or str(error))
    made = StorageError(f"cannot write {path}: {reason}")
    made.errno = error.errno
    return made
