"""The two JavaScript libraries that draw, from the packages that bring them: as text for a page, packed for a notebook.

A notebook stores every output as text, so there the libraries are gzip in base64: 2.0 MB for plotly.js and 0.5 MB for
CircuitsVis instead of 4.8 and 1.3. `assets/library.js` unpacks them in the browser.
"""

from __future__ import annotations

import base64
import gzip
import re
from functools import cache
from pathlib import Path

from interp.errors import InputError
from interp.viz import theme

LIBRARIES = ("plotly", "circuitsvis")
"""Painters that need a library of the same name."""


@cache
def source(name: str) -> str:
    """The script of one of LIBRARIES, safe inside a script element."""
    return {"plotly": _plotly, "circuitsvis": _circuitsvis}[name]()


@cache
def packed(name: str) -> str:
    """The same script as base64 of its gzip, the same text every time."""
    return base64.b64encode(gzip.compress(source(name).encode(), 9, mtime=0)).decode("ascii")


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return _inline(get_plotlyjs())


def _circuitsvis() -> str:
    import importlib.util

    # Found without importing the package, whose import is slow and which is not needed.
    spec = importlib.util.find_spec("circuitsvis")
    if spec is None or spec.origin is None:
        raise InputError("circuitsvis is not installed: run `pip install circuitsvis`")
    script = (Path(spec.origin).parent / "dist" / "cdn" / "iife.js").read_text(encoding="utf-8")
    # Masked cells are a grey that outshines the pattern, and AttentionHeads has no property for it.
    return _inline(script.replace("rgb(200,200,200)", theme.MISSING))


def _inline(script: str) -> str:
    """A library as the text of a script element: its end tags escaped, its pointer to a source map removed."""
    script = re.sub(r"</(?=script)|<!--", lambda match: match[0][0] + "\\" + match[0][1:], script, flags=re.IGNORECASE)
    return re.sub(r"\n//# sourceMappingURL=\S*\s*$", "\n", script)
