"""Looking at pages: screenshots, and a check that a page really draws what it says and asks nothing of the network."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interp.errors import InputError
from interp.viz import devtools
from interp.viz.pictures import stacked

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

# What a page shows, counted after everything is drawn. A canvas counts as painted when its pixels are not all the same.
SELECTORS = {
    "views": "[data-draw]",
    "failed": "[data-draw][data-state=failed]",
    "plotly": ".js-plotly-plot .main-svg",
    "heatmaps": ".js-plotly-plot .heatmaplayer image",
    "tokens": ".colored-tokens > span",
    "canvases": "canvas",
}
# The page and the frames in it: views of a notebook have one each.
_PAGES = """[document, ...[...document.querySelectorAll('iframe')].map((f) => f.contentDocument).filter(Boolean)]"""
_PAINTED = f"""{_PAGES}.flatMap((page) => [...page.querySelectorAll('canvas')]).filter((canvas) => {{
  if (!canvas.width || !canvas.height || !canvas.getClientRects().length) return false;
  const pixels = new Uint32Array(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.buffer);
  return pixels.some((pixel) => pixel !== pixels[0]);
}}).length"""
# Sizes and a sample of the pixels of every canvas.
_PIXELS = f"""{_PAGES}.flatMap((page) => [...page.querySelectorAll('canvas')]).map((canvas) => {{
  if (!canvas.width || !canvas.height) return 0;
  const pixels = new Uint32Array(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.buffer);
  let sum = pixels.length;
  for (let i = 0; i < pixels.length; i += 101) sum = (sum * 31 + pixels[i]) % 4294967291;
  return sum;
}}).join()"""
_FRAMES = """new Promise((done) => {
  let left = 12;
  const next = () => (left-- ? requestAnimationFrame(next) : done());
  next();
  setTimeout(done, 3000);  // a page that draws nothing has no frames
})"""
_DRAW = """(async () => {
  if (window.interpViews) await window.interpViews.drawAll();
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
})()"""
_TILE = 8000
"""Pixels of height that are taken at once: browsers draw nothing, or the same again, past 16,384."""
# What would follow the reader down the page stays where it is.
_UNSTICK = """for (const element of document.querySelectorAll('*'))
  if (getComputedStyle(element).position === 'sticky') element.style.position = 'static'"""
_LOCAL = ("file:", "data:", "blob:", "about:", "chrome:", "devtools:")


@dataclass(frozen=True)
class PageCheck:
    """What a browser saw.

    errors: console errors, uncaught exceptions and violations of the page's policy. outside: addresses outside the file
    that the page asked for, or tried to. counts: elements by name, see SELECTORS, and "painted" canvases, on the page
    and in its frames. text: the visible text of the page.
    """

    errors: tuple[str, ...]
    outside: tuple[str, ...]
    counts: Mapping[str, int]
    text: str


def find_browser() -> str:
    """The path of an installed Chromium or Chrome. Raises InputError when there is none."""
    return devtools.find(NAMES)


def screenshot(
    html_path: str | Path,
    png_path: str | Path,
    width: int = 1280,
    height: int | None = None,
    *,
    timeout: float | int = 120,
) -> Path:
    """A picture of a page as a reader without a network sees it; without a `height`, of the whole page, however long.

    Returns `png_path`. Raises InputError when no browser is installed or there is no such page, TimeoutError when
    drawing takes too long.
    """
    from interp.runs.paths import atomic_write

    with _opened(html_path, width, height or 900, timeout) as session:
        if height is None:
            height = int(session.evaluate("document.documentElement.scrollHeight"))
            _resize(session, width, min(height, _TILE))
            session.evaluate(_DRAW)
            height = int(session.evaluate("document.documentElement.scrollHeight"))
        tiles = [_tile(session, width, top, min(_TILE, height - top)) for top in range(0, height, _TILE)]
    atomic_write(Path(png_path), tiles[0] if len(tiles) == 1 else stacked(tiles))
    return Path(png_path)


def check_page(
    html_path: str | Path,
    *,
    selectors: Mapping[str, str] | None = None,
    draw: bool = True,
    wait: str | None = None,
    width: int = 1280,
    timeout: float | int = 120,
) -> PageCheck:
    """Open a page without a network and report errors, outside requests and what was drawn.

    selectors: further CSS selectors to count, by name. draw: draw all views, not only those a reader sees first.
    wait: a JavaScript expression that has to come true first. Raises InputError when no browser is installed,
    TimeoutError when the page takes too long.
    """
    with _opened(html_path, width, 900, timeout, draw) as session:
        if wait is not None:
            _wait_until(session, wait)
        session.listen(0.3)
        wanted = {**SELECTORS, **(selectors or {})}
        counts = {name: _count(session, css) for name, css in wanted.items()}
        counts["painted"] = int(session.evaluate(_PAINTED))
        text = str(session.evaluate("document.body.innerText"))
        events = session.events
    errors, refused = _errors(events)
    outside = dict.fromkeys([*_requests(events), *refused])
    return PageCheck(tuple(errors), tuple(outside), counts, text)


@contextmanager
def _opened(
    html_path: str | Path, width: int, height: int, timeout: float | int, draw: bool = True
) -> Iterator[devtools.Session]:
    """A tab with the page, everything drawn unless told otherwise."""
    path = Path(html_path).resolve()
    if not path.is_file():
        raise InputError(f"there is no page {path}")
    with devtools.browse(find_browser(), timeout) as session:
        for domain in ("Page", "Runtime", "Log", "Network"):
            session.call(f"{domain}.enable")
        _resize(session, width, height)
        session.call("Page.navigate", url=path.as_uri())
        session.wait_for("Page.loadEventFired")
        if draw:
            session.evaluate(_DRAW)
        yield session


def _wait_until(session: devtools.Session, expression: str) -> None:
    while not session.evaluate(f"Boolean({expression})"):
        session.listen(0.1)


def _count(session: devtools.Session, css: str) -> int:
    found = f"{_PAGES}.flatMap((page) => [...page.querySelectorAll({json.dumps(css)})])"
    return int(session.evaluate(f"{found}.length"))


def _settle(session: devtools.Session, least: float = 1.2, most: float = 20.0) -> None:
    """Wait until canvases are as they were some frames ago: charts follow their size, and some grow into place.

    Frames count, and not time alone: a tall page on a busy machine has few of them in a second. least, most: seconds.
    """
    began, before = time.monotonic(), None
    while True:
        session.evaluate(_FRAMES)
        now, waited = session.evaluate(_PIXELS), time.monotonic() - began
        if (now == before and waited >= least) or waited > most:
            return
        before = now


def _tile(session: devtools.Session, width: int, top: int, height: int) -> bytes:
    """A PNG of a part of the page, scrolled to: a picture of what lies outside of the window would draw charts anew."""
    _resize(session, width, height)
    if top:
        session.evaluate(_UNSTICK)
    session.evaluate(f"window.scrollTo({{top: {top}, behavior: 'instant'}})")
    _settle(session)
    return base64.b64decode(session.call("Page.captureScreenshot", format="png")["data"])


def _resize(session: devtools.Session, width: int, height: int) -> None:
    session.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)


def _requests(events: list[devtools.Message]) -> Iterator[str]:
    """Addresses the page asked for that are not inside it, the page itself apart."""
    opened = False
    for event in events:
        if event.get("method") != "Network.requestWillBeSent":
            continue
        url = event["params"]["request"]["url"]
        if url.startswith("file:") and not opened:
            opened = True  # the page
        elif url.startswith("file:") or not url.startswith(_LOCAL):
            yield url


def _errors(events: list[devtools.Message]) -> tuple[list[str], list[str]]:
    """Error texts, and the addresses of requests that the page's policy refused."""
    errors: list[str] = []
    refused: list[str] = []
    for event in events:
        method, params = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            errors.append(details.get("exception", {}).get("description") or details["text"])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            errors.append(" ".join(_described(argument) for argument in params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            entry = params["entry"]
            errors.append(entry["text"])
            if entry.get("source") == "security":
                refused.append(entry["text"])
    return errors, refused


def _described(argument: Mapping[str, Any]) -> str:
    return str(argument.get("value", argument.get("description", argument.get("type"))))
