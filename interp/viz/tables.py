"""Tables: as a data frame of formatted cells, as HTML for a report, and as a plotly figure."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from interp.errors import InputError
from interp.results import FEWEST
from interp.viz import theme
from interp.viz.arranging import Arranged, arrange, labels_of, title_of
from interp.viz.framing import title
from interp.viz.text import for_plotly, visible, whole_intervals

if TYPE_CHECKING:
    import pandas as pd

    from interp.results import Plot, Result

MAX_ROWS = 60


def table(result: Result, plot: Plot) -> Any:
    """The plot as a plotly table: rows are `y` (or `series`), columns are `x`, cells carry their interval."""
    import plotly.graph_objects as go

    frame = cells(result, plot)
    columns = [[for_plotly(cell) for cell in frame[name]] for name in frame.columns]
    figure = go.Figure(
        go.Table(
            header={
                "values": [f"<b>{for_plotly(name)}</b>" for name in frame.columns],
                "align": "left",
                "fill_color": "#eef2f6",
                "line_color": theme.GRID,
            },
            cells={"values": columns, "align": "left", "fill_color": "white", "line_color": theme.GRID, "height": 24},
        )
    )
    top = 44 if plot.title else 12
    per_column = (theme.FIGURE_WIDTH - 16) / frame.shape[1] / 7  # characters that fit on a line
    lines = [max(math.ceil(len(str(cell)) / per_column) for cell in row) for row in frame.to_numpy()]
    height = min(900, top + 44 + sum(10 + 17 * n for n in lines))
    figure.update_layout(
        template=theme.template(), title=title(plot), height=height, margin={"l": 8, "r": 8, "t": top, "b": 8}
    )
    return figure


def cells(result: Result, plot: Plot) -> pd.DataFrame:
    """The table as strings: one row per label of `y`, one column per label of `x`.

    A vector (or several vectors, named by the option `columns`) is written downwards. Options: n_most (only the rows
    with the n largest |values|, sorted). Past 60 rows the table is cut and says so in its last row.
    """
    names = [str(name) for name in plot.options.get("columns", [])] or [plot.values]
    vectors = len(names) > 1 or len(result.values[plot.values].axes) <= 1
    frame = _downwards(result, plot, names) if vectors else _across(result, plot)
    if len(frame) <= MAX_ROWS:
        return frame
    rest = len(frame) - MAX_ROWS
    frame = frame.iloc[:MAX_ROWS].copy()
    frame.loc[len(frame)] = [f"… {rest} more rows"] + [""] * (frame.shape[1] - 1)
    return frame


def _downwards(result: Result, plot: Plot, names: Sequence[str]) -> pd.DataFrame:
    from dataclasses import replace

    import pandas as pd

    shown = {
        name: arrange(
            result, plot if name == plot.values else replace(plot, values=name, low=None, high=None), [plot.y or plot.x]
        )
        for name in names
    }
    first = next(iter(shown.values()))
    rows = _strongest(first.data, plot)
    columns: dict[str, list[str]] = {}
    if first.axes[0] is not None:
        columns[title_of(first.axes[0])] = [visible(str(labels_of(first.axes[0])[i])) for i in rows]
    for name, part in shown.items():
        columns[_heading(name, part)] = [_cell(part, i) for i in rows]
    return pd.DataFrame(columns)


def _across(result: Result, plot: Plot) -> pd.DataFrame:
    import pandas as pd

    shown = arrange(result, plot, [plot.y or plot.series, plot.x])
    rows = _strongest(np.abs(shown.data).max(axis=1), plot)
    columns = {title_of(shown.axes[0]): [visible(str(labels_of(shown.axes[0])[i])) for i in rows]}
    for j, label in enumerate(labels_of(shown.axes[1])):
        heading = f"{title_of(shown.axes[1])} {label}" if isinstance(label, int) else visible(str(label))
        columns[heading if heading not in columns else f"{heading} ({j})"] = [_cell(shown, i, j) for i in rows]
    return pd.DataFrame(columns)


def _strongest(strength: Any, plot: Plot) -> list[int]:
    if "n_most" not in plot.options:
        return list(range(len(strength)))
    return np.argsort(-np.nan_to_num(np.abs(strength)), kind="stable")[: int(plot.options["n_most"])].tolist()


def _heading(name: str, shown: Arranged) -> str:
    words = name.replace("_", " ")
    return f"{words} ({shown.unit})" if shown.unit and shown.unit != words else words


def _cell(shown: Arranged, *index: int) -> str:
    text = theme.number(shown.data[index])
    if shown.low is not None and shown.high is not None:
        text += " " + theme.interval(shown.low[index], shown.high[index])
    return text


def html_table(frame: pd.DataFrame, max_rows: int = MAX_ROWS) -> str:
    """A data frame as an HTML table; numbers are aligned on the right and written with 4 significant figures."""
    shown = frame.iloc[:max_rows]
    columns = [_column(shown.iloc[:, j].tolist()) for j in range(shown.shape[1])]
    head = "".join(
        f"<th{' class=n' if right else ''}>{html.escape(str(name))}</th>"
        for name, (_, right) in zip(frame.columns, columns, strict=True)
    )
    body = "".join(
        "<tr>" + "".join(f"<td{' class=n' if right else ''}>{texts[i]}</td>" for texts, right in columns) + "</tr>"
        for i in range(len(shown))
    )
    cut = len(frame) - len(shown)
    note = f'<p class="note">{cut} more rows are not shown.</p>' if cut else ""
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{note}'


def _column(values: Sequence[Any]) -> tuple[list[str], bool]:
    """The cells of one column, escaped, and whether it stands on the right (it holds numbers)."""
    right = all(isinstance(value, int | float | np.number) or _reads_as_number(value) for value in values) and bool(
        values
    )
    return [whole_intervals(html.escape(_text(value))) for value in values], right


def _text(value: Any) -> str:
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return theme.number(int(value))
    if isinstance(value, float | np.floating):
        return theme.number(float(value), 4)
    return "" if value is None else visible(str(value))


def _reads_as_number(value: Any) -> bool:
    if not isinstance(value, str):
        return value is None
    start = value.lstrip("−-").split(" [")[0].replace(",", "")
    return value == "" or start.replace(".", "").replace("e", "").replace("-", "").isdigit()


_HEADLINE_COLUMNS = ("", "value", "n", "95 % interval", "note")


def headline_table(table: pd.DataFrame | Sequence[tuple[Any, ...]]) -> str:
    """Headline numbers as HTML: a data frame as it is, or rows (name, value, n, interval, note, of), short ones filled.

    The interval is a pair of numbers, a text or None; of: what n counts. Columns that are empty in every row are left
    out; intervals that are not there, since n is too small, are a dash that is explained.
    """
    if not isinstance(table, Sequence):
        return html_table(table)
    rows = []
    for row in table:
        if len(row) > 6:
            raise InputError(f"a headline row is (name, value, n, interval, note, of), not {len(row)} things: {row!r}")
        name, value, n, interval, note, of = tuple(row) + (None,) * (6 - len(row))
        rows.append([name, value, n if n is None or not of else f"{n} {of}", interval, note])
    # The interval reads best beside its value, the number of examples after both.
    order = [j for j in (0, 1, 3, 2, 4) if j < 2 or any(row[j] not in (None, "") for row in rows)]
    classes = {1: ' class="n value"', 2: ' class="aside count"', 3: ' class="n"', 4: ' class="aside"'}
    head = "".join(f"<th{classes.get(j, '')}>{_HEADLINE_COLUMNS[j]}</th>" for j in order)
    body = "".join(
        "<tr>" + "".join(f"<td{classes.get(j, '')}>{_headline_cell(row[j])}</td>" for j in order) + "</tr>"
        for row in rows
    )
    none = any(_headline_cell(row[3]) == "–" for row in rows)
    note = f'<p class="note">–: no interval, since fewer than {FEWEST} are too few for one.</p>' if none else ""
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>{note}'


def _headline_cell(value: Any) -> str:
    """One cell, escaped."""
    if isinstance(value, tuple | list) and len(value) == 2:
        text = theme.interval(float(value[0]), float(value[1])) or "–"
    elif isinstance(value, float | np.floating):
        text = theme.number(float(value))
    else:
        text = _text(value)
    return whole_intervals(html.escape(text))
