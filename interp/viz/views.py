"""`View`: what a component is to show, as a piece of a page, a page of its own, or a frame in a notebook."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from interp.viz.pages import fragment, page
from interp.viz.text import script_json


@dataclass(frozen=True, eq=False)
class View:
    """One view: which script draws it, what it shows, how high it is, and what was left out.

    painter: "circuitsvis" or "query_key". data: what the painter reads (JSON). height: pixels to reserve. notes:
    sentences shown below the view.
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
        heading = f"<h1>{html.escape(self.title)}</h1>" if self.title else ""
        body = f'<div class="standalone">{heading}{self.html_fragment("view")}</div>'
        return page(self.title or "View", body, [self.painter])

    def save(self, path: str | Path) -> Path:
        """Write the page to `path`, at once or not at all."""
        from interp.runs.paths import atomic_write

        # A token may hold half of a surrogate pair, which no file can.
        return atomic_write(path, self.html.encode("utf-8", errors="replace"))

    def _repr_html_(self) -> str:
        # A frame of its own keeps React and the notebook apart, and its height keeps notebooks from clipping it.
        height = self.height + 40 + (40 if self.title else 0) + 24 * len(self.notes)
        source = html.escape(self.html, quote=True)
        return f'<iframe srcdoc="{source}" style="width:100%;height:{height}px;border:0" loading="lazy"></iframe>'


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
