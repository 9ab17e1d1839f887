"""The one error class for what a user can mend: one sentence that names the fix. Imports nothing."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Something the caller gave cannot be used; the message says what, and what to give instead."""


def nearest(wrong: object, valid: Iterable[object], n: int = 3) -> str:
    """The valid names closest to `wrong`, as the end of an error message ("; did you mean 'a' or 'b'?")."""
    names = [str(name) for name in valid]
    close = difflib.get_close_matches(str(wrong), names, n=n, cutoff=0.5)
    if close:
        return "; did you mean " + " or ".join(repr(name) for name in close) + "?"
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"; there are: {shown}"
