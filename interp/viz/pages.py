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
from typing import Any

from interp.errors import InputError
from interp.viz.libraries import LIBRARIES, packed, source
from interp.viz.text import script_json

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:; "
    "base-uri 'none'; form-action 'none'"
)


def page(title: str, body: str, painters: Iterable[str], *, styles: str = "") -> str:
    """A whole HTML document around `body`; `painters` are those its views name in data-draw."""
    used = set(painters)
    # Plotly and CircuitsVis first: the page's own script starts drawing as soon as the document is parsed.
    return _document(title, body, [*(source(name) for name in LIBRARIES if name in used), *_own(used)], styles)


def frame_page(title: str, body: str, painters: Iterable[str], *, shared: bool = False) -> str:
    """The document inside a notebook's frame; shared: the page around the frame holds the libraries."""
    used = set(painters)
    held = [] if shared else [packed_script(name for name in LIBRARIES if name in used)]
    return _document(title, body, [*held, asset("library.js"), *_own(used)], "")


def packed_script(names: Iterable[str]) -> str:
    """A script that keeps these libraries, packed, for every figure and view of the page."""
    held = ", ".join(f'{name}: "{packed(name)}"' for name in names)
    return f"window.interpPacked = Object.assign(window.interpPacked || {{}}, {{ {held} }});"


def _document(title: str, body: str, scripts: Iterable[str], styles: str) -> str:
    inlined = "".join(f"<script>{script}</script>\n" for script in scripts)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{asset('page.css')}{styles}</style>\n"
        f"</head>\n<body>\n{body}\n{inlined}</body>\n</html>\n"
    )


def _own(painters: set[str]) -> list[str]:
    """Our own scripts, the one that draws first."""
    return [asset("page.js"), *([asset("query_key.js")] if "query_key" in painters else [])]


def fragment(
    element_id: str, painter: str, data: Mapping[str, Any] | str, min_height: int, *, waiting: str = ""
) -> str:
    """The element of one view and its data; `data` is a mapping, or JSON that is already safe inside a script.

    waiting: what the element holds until it is drawn, as HTML.
    """
    if not re.fullmatch(r"[A-Za-z][\w-]*", element_id):
        raise InputError(f"the element id {element_id!r} must be a letter followed by letters, digits, '-' or '_'")
    text = data if isinstance(data, str) else script_json(data)
    return (
        f'<div id="{element_id}" data-draw="{painter}" style="min-height:{min_height}px">{waiting}</div>\n'
        f'<script type="application/json" id="{element_id}-data">{text}</script>'
    )


def figure_json(figure: Any) -> str:
    """A plotly figure's data and layout as JSON that is safe inside a script."""
    return figure.to_json(validate=False).replace("<", "\\u003c")


@cache
def asset(name: str) -> str:
    """The text of a file of this package's assets."""
    return importlib.resources.files("interp.viz").joinpath("assets", name).read_text(encoding="utf-8")
