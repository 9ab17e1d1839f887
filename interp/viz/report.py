"""One HTML file that reads like a short paper: headline numbers, numbered figures with caveats, provenance.

>>> report = Report("Induction heads in SmolLM2-135M", "Which heads copy a repeated sequence.")
>>> report.headline([("loss, second half", 3.27, 8, (3.1, 3.4), "nats")])
>>> report.section("Scores", "Mean attention from a token to the one after its earlier copy.").add(scores)
>>> report.write("report.html")

The file works from disk and without a network; figures draw themselves when they come into view.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interp.errors import InputError
from interp.viz import pages
from interp.viz.figures import figure
from interp.viz.provenance_notes import details, source_line
from interp.viz.result_views import view
from interp.viz.tables import cells, headline_table, html_table
from interp.viz.text import in_line, paragraphs
from interp.viz.views import View

if TYPE_CHECKING:
    import pandas as pd

    from interp.results import Plot, Result

MAX_BYTES = 15_000_000
"""What a page may weigh; what does not fit any more is cut or left out, and the page says so."""
_LIBRARIES = 6_400_000  # plotly.js 4.8 MB, CircuitsVis 1.3 MB, and the page itself
_VIEW_BYTES = 2_000_000


@dataclass
class _Section:
    title: str
    text: str
    blocks: list[str] = field(default_factory=list)


class Report:
    """A page in the making. Methods return the report, so that calls can be chained.

    title, subtitle: plain text. max_bytes: what the page may weigh.
    """

    def __init__(self, title: str, subtitle: str = "", *, max_bytes: int = MAX_BYTES) -> None:
        self.title = title
        self.subtitle = subtitle
        self._room = max_bytes - _LIBRARIES
        self._abstract: list[str] = []
        self._headlines: list[str] = []
        self._omitted: list[str] = []
        self._sections: list[_Section] = []
        self._results: list[Result] = []
        self._painters: set[str] = set()
        self._caveats: dict[str, str] = {}
        self._n_figures = 0
        self._n_tables = 0

    def section(self, title: str, text: str = "") -> Report:
        """Start a section; in the text blank lines separate paragraphs and `back ticks` mark code.

        A section without text to which nothing is added is left out of the page.
        """
        self._sections.append(_Section(title, text))
        return self

    def abstract(self, text: str) -> Report:
        """Say in words what was found, under the title and before everything else.

        May be called at any time, before or after sections; several calls follow one another. Blank lines separate
        paragraphs and `back ticks` mark code.
        """
        self._abstract.append(text)
        return self

    def omitted(self, sentence: str) -> Report:
        """Name something that is missing from the page, and why; listed under the headline numbers."""
        if sentence not in self._omitted:
            self._omitted.append(sentence)
        return self

    def headline(self, table: pd.DataFrame | Sequence[tuple[Any, ...]], title: str = "Headline numbers") -> Report:
        """A box of numbers at the top of the page, in the order of the calls.

        table: a data frame, or rows (name, value, n, interval, note, of) of which the last may be left out; the
        interval is a pair of numbers, a text or None; of: what n counts, such as "prompts".
        """
        self._headlines.append(f'<div class="headline"><h2>{html.escape(title)}</h2>{headline_table(table)}</div>')
        return self

    def add(
        self,
        item: Any,
        caption: str = "",
        caveat: str = "",
        plot: int | Plot | None = None,
    ) -> Report:
        """Put a result (all its plots, or the one chosen), a plotly figure, a view or a table into the current section.

        A result brings its own captions and caveats; those given here replace them. A caveat that stands on the page
        already is pointed to. Settings and provenance of results go to the end of the page. Raises InputError for
        anything else.
        """
        if isinstance(item, View):
            self._add_view(item, caption, caveat)
        elif hasattr(item, "to_plotly_json"):
            self._add_figure(item, caption, caveat)
        elif hasattr(item, "iloc"):
            self._add_table(html_table(item), caption, caveat)
        elif hasattr(item, "provenance") and hasattr(item, "plots"):
            self._add_result(item, caption, caveat, plot)
        else:
            raise InputError(
                f"a report cannot show a {type(item).__name__}; give a result, a plotly figure, a view or a data frame"
            )
        return self

    @property
    def html(self) -> str:
        """The whole page."""
        body = (
            f'<div class="report">\n{self._header()}\n{self._contents()}\n<main>\n{self._opening()}\n'
            f"{self._body()}</main>\n<footer>{details(self._results)}</footer>\n</div>"
        )
        return pages.page(self.title, body, self._painters, styles=pages.asset("report.css"))

    def write(self, path: str | Path) -> Path:
        """Write the page at once or not at all; returns its path. Raises StorageError when the disk is unwilling."""
        from interp.runs.paths import atomic_write

        # A token may hold half of a surrogate pair, which no file can.
        return atomic_write(path, self.html.encode("utf-8", errors="replace"))

    # ---- what is added ---------------------------------------------------------------------------------------------

    def _add_result(self, result: Result, caption: str, caveat: str, plot: int | Plot | None) -> None:
        if not any(known is result for known in self._results):
            self._results.append(result)
        chosen = result.plots if plot is None else (result.plots[plot] if isinstance(plot, int) else plot,)
        if not chosen:
            words = caption or f"The largest values of this {result.kind} result."
            self._add_table(html_table(result.leading(10)), words, caveat)
        for one in chosen:
            told = (caption or one.caption or one.title, caveat or one.caveat)
            if one.kind in ("attention", "text"):
                self._add_view(view(result, one, max_bytes=max(50_000, min(_VIEW_BYTES, self._room))), *told)
            elif one.kind == "table":
                self._add_table(html_table(cells(result, one)), *told)
            else:
                self._add_figure(figure(result, one), *told)

    def _add_view(self, item: View, caption: str, caveat: str) -> None:
        self._n_figures += 1
        name = f"view-{self._n_figures}"
        heading = f'<div class="view-title">{html.escape(item.title)}</div>' if item.title else ""
        self._add_drawn(heading + replace(item, title="").html_fragment(name), item.painter, caption, caveat)

    def _add_figure(self, item: Any, caption: str, caveat: str) -> None:
        self._n_figures += 1
        height = int(item.layout.height or 450)
        text = pages.fragment(f"view-{self._n_figures}", "plotly", pages.figure_json(item), height)
        self._add_drawn(text, "plotly", caption, caveat)

    def _add_drawn(self, text: str, painter: str, caption: str, caveat: str) -> None:
        if len(text) > self._room:
            text = (
                f'<p class="note">This figure ({len(text) / 1e6:.1f} MB) was left out to keep the page small: '
                f"save it by itself, or give the report a larger max_bytes.</p>"
            )
        else:
            self._painters.add(painter)
            self._room -= len(text)
        label = f"Figure {self._n_figures}"
        self._block(f'<figure id="figure-{self._n_figures}">{text}{self._words(label, caption, caveat)}</figure>\n')

    def _add_table(self, text: str, caption: str, caveat: str) -> None:
        self._n_tables += 1
        self._room -= len(text)
        words = self._words(f"Table {self._n_tables}", caption, caveat)
        self._block(f'<figure class="table" id="table-{self._n_tables}">{words}{text}</figure>\n')

    def _words(self, label: str, caption: str, caveat: str) -> str:
        """The caption of a figure or table, with its caveat set apart; one that was given before is only pointed to."""
        known = self._caveats.setdefault(caveat, label)
        told = in_line(caveat) if known == label else f"As under {known}."
        warning = f'<span class="caveat"><b>Caveat.</b> {told}</span>' if caveat else ""
        return f"<figcaption><b>{label}.</b> {in_line(caption)}{warning}</figcaption>"

    def _block(self, text: str) -> None:
        if not self._sections:
            self._sections.append(_Section("", ""))
        self._sections[-1].blocks.append(text)

    # ---- how it is put together ------------------------------------------------------------------------------------

    def _header(self) -> str:
        subtitle = f'<div class="subtitle">{paragraphs(self.subtitle)}</div>' if self.subtitle else ""
        return f"<header><h1>{html.escape(self.title)}</h1>{subtitle}{source_line(self._results)}</header>"

    def _opening(self) -> str:
        """The abstract, the boxes of headline numbers, and what is missing."""
        text = "\n\n".join(self._abstract)
        abstract = f'<div class="abstract">{paragraphs(text)}</div>' if text else ""
        items = "".join(f"<li>{in_line(sentence)}</li>" for sentence in self._omitted)
        omitted = f'<div class="omitted"><h2>Not measured</h2><ul>{items}</ul></div>' if items else ""
        return f"{abstract}\n{''.join(self._headlines)}\n{omitted}"

    def _filled(self) -> list[_Section]:
        """The sections that hold something; one that was begun and got nothing is left out."""
        return [section for section in self._sections if section.text.strip() or section.blocks]

    def _contents(self) -> str:
        titled = [section for section in self._filled() if section.title]
        if len(titled) < 2:
            return '<nav class="contents"></nav>'
        line = '<li><a href="#section-{}"><span class="number">{}</span><span>{}</span></a></li>'
        entries = "".join(line.format(i, i, html.escape(section.title)) for i, section in enumerate(titled, start=1))
        return f'<nav class="contents"><p class="heading">Contents</p><ol>{entries}</ol></nav>'

    def _body(self) -> str:
        parts, number = [], 0
        for section in self._filled():
            heading = ""
            if section.title:
                number += 1
                heading = f'<h2><span class="number">{number}</span>{html.escape(section.title)}</h2>'
            text = f'<div class="text">{paragraphs(section.text)}</div>' if section.text else ""
            anchor = f' id="section-{number}"' if section.title else ""
            parts.append(f"<section{anchor}>{heading}{text}\n{''.join(section.blocks)}</section>\n")
        return "".join(parts)
