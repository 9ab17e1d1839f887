"""How a result shows itself in a notebook: its figure, then its top rows. Showing never fails."""

from __future__ import annotations

import html as escaping
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from interp.results.result import Result

_ROWS = 10


def html(result: Result, framed: Callable[[], str]) -> str:
    """The first figure, as `framed` makes it, and the top rows as one piece of HTML that needs no network."""
    try:
        figure = framed() if result.plots else ""
    except Exception as error:  # a table is better than a traceback in the middle of a notebook
        return f"<div>{_note(f'no figure: {error}')}{_rows_html(result)}</div>"
    return f"<div>{figure}{_words_html(result)}{_rows_html(result, drawn=True)}</div>"


def display(result: Result) -> None:
    """Show in IPython through the figure's own display, so that plotly's script is not repeated in every cell."""
    from IPython import get_ipython
    from IPython.display import display as show

    if not hasattr(get_ipython(), "kernel"):  # IPython in a terminal, which cannot show HTML
        print(repr(result))
        return

    def show_html(text: str) -> None:
        show({"text/html": text, "text/plain": result.kind}, raw=True)  # IPython.display.HTML warns of frames

    try:
        figure = result.figure() if result.plots else None
        bundle = getattr(figure, "_repr_mimebundle_", None)
        if bundle is not None:
            show(bundle(), raw=True)  # empty when the user set plotly's renderer to "browser" or none
        elif figure is not None:
            show_html(figure._repr_html_())
    except Exception as error:
        show_html(_note(f"no figure: {error}"))
        figure = None
    show_html(_words_html(result) + _rows_html(result, drawn=figure is not None))


def _words_html(result: Result) -> str:
    """What the figure shows, and what to beware of."""
    if not result.plots:
        return ""
    shown = result.plots[0]
    caveat = f"<br><b>Caveat.</b> {escaping.escape(shown.caveat)}" if shown.caveat else ""
    return f"<p>{escaping.escape(shown.caption)}{caveat}</p>" if shown.caption or caveat else ""


def _rows_html(result: Result, drawn: bool = False) -> str:
    if drawn and result.plots and result.plots[0].kind == "table":
        return ""  # the figure is a table already
    try:
        name = next(iter(result.values))
        values = result.values[name]
        shown = result.top(_ROWS).to_html(index=False, border=0, float_format=lambda x: f"{x:.4g}")
        unit = f" ({values.unit})" if values.unit else ""
        count = values.data.numel()
        which = f", the {_ROWS} largest of {count}" if count > _ROWS else ""
        return f"<p>{escaping.escape(f'{result.kind}: {name}{unit}{which}')}</p>{shown}"
    except Exception as error:
        return f"<pre>{escaping.escape(repr(result))}</pre>{_note(f'no table: {error}')}"


def _note(text: str) -> str:
    return f"<p><em>{escaping.escape(text)}</em></p>"
