"""One HTML page that needs nothing else: scripts inlined once, views that draw themselves, no request allowed.

The page works from `file://`, on a cluster node without a network, and as an attachment. Its Content-Security-Policy
lets the browser itself refuse any request, so a forgotten link cannot phone home.
"""

from __future__ import annotations

import html
import importlib.resources
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from interp.errors import InputError
from interp.viz import theme
from interp.viz.text import script_json

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:; "
    "base-uri 'none'; form-action 'none'"
)


def page(title: str, body: str, painters: Iterable[str], *, styles: str = "") -> str:
    """A whole HTML document around `body`; `painters` are those its views name in data-draw."""
    scripts = "".join(f"<script>{script}</script>\n" for script in _scripts(set(painters)))
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{asset('page.css')}{styles}</style>\n"
        f"</head>\n<body>\n{body}\n{scripts}</body>\n</html>\n"
    )


def fragment(element_id: str, painter: str, data: Mapping[str, Any] | str, min_height: int) -> str:
    """The element of one view and its data; `data` is a mapping, or JSON that is already safe inside a script."""
    if not re.fullmatch(r"[A-Za-z][\w-]*", element_id):
        raise InputError(f"the element id {element_id!r} must be a letter followed by letters, digits, '-' or '_'")
    text = data if isinstance(data, str) else script_json(data)
    return (
        f'<div id="{element_id}" data-draw="{painter}" style="min-height:{min_height}px"></div>\n'
        f'<script type="application/json" id="{element_id}-data">{text}</script>'
    )


def figure_json(figure: Any) -> str:
    """A plotly figure's data and layout as JSON that is safe inside a script."""
    return figure.to_json(validate=False).replace("<", "\\u003c")


def _scripts(painters: set[str]) -> Iterable[str]:
    # Plotly and CircuitsVis first: the page's own script starts drawing as soon as the document is parsed.
    if "plotly" in painters:
        yield _plotly()
    if "circuitsvis" in painters:
        yield _circuitsvis()
    yield asset("page.js")
    if "query_key" in painters:
        yield asset("query_key.js")


@cache
def asset(name: str) -> str:
    """The text of a file of this package's assets."""
    return importlib.resources.files("interp.viz").joinpath("assets", name).read_text(encoding="utf-8")


@cache
def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return _inline(get_plotlyjs())


@cache
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
