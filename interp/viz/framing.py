"""What figures of every kind share: titles, names of series, hover texts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from interp.viz import theme
from interp.viz.arranging import Arranged, labels_of, title_of
from interp.viz.text import for_plotly

if TYPE_CHECKING:
    from interp.results import Axis, Plot

_NUMBER = re.compile(r"-?\d+(\.\d+)?(e-?\d+)?")
"""Labels such as "0.9", which say nothing without the axis they stand on."""


def title(plot: Plot) -> dict[str, Any]:
    """The figure's title, at the top left whatever its height."""
    return {"text": for_plotly(plot.title), "y": 1, "yanchor": "top", "yref": "container", "pad": {"t": 10, "l": 0}}


def name_of(axis: Axis | None, label: str | int, limit: int = 28) -> str:
    """What one label of an axis is called away from the axis: "head 3", "sparsity 0.9", or a label that is words."""
    bare = isinstance(label, int) or _NUMBER.fullmatch(label)
    return for_plotly(f"{title_of(axis)} {label}" if bare else label, limit)


def unit_of(shown: Arranged, plot: Plot) -> str:
    """What the numbers are, for a colour bar, an axis or a hover text."""
    return for_plotly(plot.options.get("colour_label") or shown.unit or plot.values)


def hover(shown: Arranged, plot: Plot, *index: int) -> str:
    """The hover text of one value: its labels, the number, its interval."""
    where = [
        f"{for_plotly(title_of(axis))} <b>{for_plotly(labels_of(axis)[i], 40)}</b>"
        for axis, i in zip(shown.axes, index, strict=True)
        if axis is not None
    ]
    text = f"{', '.join(where)}<br>{unit_of(shown, plot)}: <b>{theme.number(shown.data[index], 4)}</b>"
    if shown.low is not None and shown.high is not None:
        text += f" {theme.interval(shown.low[index], shown.high[index])}"
    return text
