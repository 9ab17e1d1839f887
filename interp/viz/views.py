"""`View`: what a component is to show, as a piece of a page, a page of its own, or a frame in a notebook."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from interp.viz.notebook_setup import shared
from interp.viz.pages import figure_json, fragment, frame_page, page
from interp.viz.text import script_json


@dataclass(frozen=True, eq=False)
class View:
    """One view: which script draws it, what it shows, how high it is, and what was left out.

    painter: "circuitsvis", "query_key" or "plotly". data: what the painter reads (JSON). height: pixels to reserve.
    notes: sentences shown below the view.
    """

    painter: str
    data: Mapping[str, Any]
    height: int
    title: str = ""
    notes: tuple[str, ...] = ()
    _json: list[str] = field(default_factory=list, repr=False)

    @property
    def props(self) -> Mapping[str, Any]:
        """What the first component of the first page is given."""
        return self.data["pages"][0][0]["props"] if "pages" in self.data else self.data

    @property
    def json(self) -> str:
        """The data as compact JSON, safe inside a script element."""
        if not self._json:
            self._json.append(script_json(self.data))
        return self._json[0]

    def html_fragment(self, element_id: str) -> str:
        """The view as a piece of a page made by `interp.viz.pages.page`."""
        notes = "".join(f'<p class="note">{html.escape(note)}</p>' for note in self.notes)
        return fragment(element_id, self.painter, self.json, self.height) + notes

    @property
    def html(self) -> str:
        """A page of its own, with the scripts inlined (1.3 MB)."""
        return page(self.title or "View", self._body(), [self.painter])

    def save(self, path: str | Path) -> Path:
        """Write the page to `path`, at once or not at all."""
        from interp.runs.paths import atomic_write

        # A token may hold half of a surrogate pair, which no file can.
        return atomic_write(path, self.html.encode("utf-8", errors="replace"))

    def _repr_html_(self) -> str:
        # A frame of its own keeps React and the notebook apart, and its height keeps notebooks from clipping it.
        height = self.height + 40 + (40 if self.title else 0) + 24 * len(self.notes)
        inside = frame_page(self.title or "View", self._body(), [self.painter], shared=shared())
        source = html.escape(inside, quote=True)
        style = f"width:100%;height:{height}px;border:0"
        return f'<iframe data-interp srcdoc="{source}" style="{style}" loading="lazy"></iframe>'

    def _body(self) -> str:
        heading = f"<h1>{html.escape(self.title)}</h1>" if self.title else ""
        return f'<div class="standalone">{heading}{self.html_fragment("view")}</div>'


def figure_view(figure: Any, title: str = "") -> View:
    """A plotly figure as a view, for what can show a frame but not plotly's own mime type."""
    return View("plotly", json.loads(figure_json(figure)), int(figure.layout.height or 450), title)


def one_component(
    component: str, props: Mapping[str, Any], *, height: int, title: str = "", notes: Sequence[str] = ()
) -> View:
    """A view of one CircuitsVis component with these properties."""
    return stacked(component, [("", props)], height=height, title=title, notes=notes)


def stacked(
    component: str,
    items: Sequence[tuple[str, Mapping[str, Any]]],
    *,
    height: int,
    title: str = "",
    notes: Sequence[str] = (),
) -> View:
    """Several of the same component below each other, each with its label and properties."""
    page_items = [{"label": label, "props": props} for label, props in items]
    data = {"component": component, "choosers": [], "pages": [page_items]}
    return View("circuitsvis", data, height, title, tuple(notes))


def paged(views: Sequence[View], choosers: Sequence[tuple[str, Sequence[str]]]) -> View:
    """Several views of one component behind menus; `views` are ordered with the last chooser running fastest."""
    first = views[0]
    pages = [page for view in views for page in view.data["pages"]]
    names = [[name, [str(label) for label in labels]] for name, labels in choosers if len(labels) > 1]
    notes = tuple(dict.fromkeys(note for view in views for note in view.notes))
    data = {"component": first.data["component"], "choosers": names, "pages": pages}
    return replace(first, data=data, height=max(v.height for v in views) + 36, notes=notes, _json=[])
