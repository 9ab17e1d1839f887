"""How a result shows itself in a notebook: its figure, then its top rows. Showing never fails."""

from __future__ import annotations

import html as escaping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interp.results.result import Result

_ROWS = 10


def html(result: Result) -> str:
    """The first figure and the top rows as one piece of HTML that needs no network."""
    try:
        figure = _figure_html(result.figure()) if result.plots else ""
    except Exception as error:  # a table is better than a traceback in the middle of a notebook
        figure = _note(f"no figure: {error}")
    return f"<div>{figure}{_rows_html(result)}</div>"


def display(result: Result) -> None:
    """Show in IPython through the figure's own display, so that plotly's script is not repeated in every cell."""
    from IPython import get_ipython  # type: ignore[import-not-found]
    from IPython.display import HTML  # type: ignore[import-not-found]
    from IPython.display import display as show

    if not hasattr(get_ipython(), "kernel"):  # IPython in a terminal, which cannot show HTML
        print(repr(result))
        return
    try:
        figure = result.figure() if result.plots else None
        bundle = getattr(figure, "_repr_mimebundle_", None)
        if bundle is not None:
            show(bundle(), raw=True)  # empty when the user set plotly's renderer to "browser" or none
        elif figure is not None:
            show(HTML(figure._repr_html_()))
    except Exception as error:
        show(HTML(_note(f"no figure: {error}")))
    show(HTML(_rows_html(result)))


def _figure_html(figure: Any) -> str:
    if hasattr(figure, "to_html"):
        return figure.to_html(full_html=False, include_plotlyjs=True)
    return figure._repr_html_()


def _rows_html(result: Result) -> str:
    try:
        name = next(iter(result.values))
        values = result.values[name]
        shown = result.leading(_ROWS).to_html(index=False, border=0, float_format=lambda x: f"{x:.4g}")
        unit = f" ({values.unit})" if values.unit else ""
        count = values.data.numel()
        which = f", the {_ROWS} largest of {count}" if count > _ROWS else ""
        return f"<p>{escaping.escape(f'{result.kind}: {name}{unit}{which}')}</p>{shown}"
    except Exception as error:
        return f"<pre>{escaping.escape(repr(result))}</pre>{_note(f'no table: {error}')}"


def _note(text: str) -> str:
    return f"<p><em>{escaping.escape(text)}</em></p>"
