"""The look of every figure, defined once: colours, fonts, margins, number formats.

Blue is positive and vermillion negative everywhere, in plotly figures as in CircuitsVis views. Both ramps keep their
order under the common kinds of colour blindness and in grey print (after ColorBrewer's Blues and the Okabe-Ito palette,
Okabe & Ito 2008, "Color Universal Design").
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

FONT = '"Source Sans 3", "Source Sans Pro", "Segoe UI", "Helvetica Neue", Arial, "Liberation Sans", sans-serif'
INK, MUTED, GRID, MISSING = "#1f2933", "#5b6673", "#e4e8ec", "#eceff2"
POSITIVE, NEGATIVE = "#0b5fa5", "#c1440e"

# Categories in the order they are used; sky blue and yellow come last because they are the faintest on white.
CATEGORIES = ("#0b5fa5", "#d55e00", "#009e73", "#b3589a", "#e69f00", "#6b7280", "#56b4e9", "#a6761d")
DASHES = ("solid", "dash", "dot", "dashdot")

SEQUENTIAL = [[0.0, "#f7fafd"], [0.15, "#dbe9f6"], [0.4, "#94c4df"], [0.7, "#3787c0"], [1.0, "#083e7d"]]
DIVERGING = [
    [0.0, "#8f2d04"],
    [0.2, "#d9713a"],
    [0.4, "#f6cdb4"],
    [0.5, "#fbfbfb"],
    [0.6, "#bcd8ec"],
    [0.8, "#4a8fc4"],
    [1.0, "#083e7d"],
]

# A report's column is this wide; how many labels fit on an axis is worked out from it.
FIGURE_WIDTH = 860.0


@cache
def template() -> Any:
    """The plotly template of the house."""
    import plotly.graph_objects as go

    axis = {
        "automargin": True,
        "gridcolor": GRID,
        "linecolor": "#9aa5b1",
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": "#9aa5b1",
        "tickfont": {"size": 12, "color": INK},
        "title": {"font": {"size": 13, "color": INK}, "standoff": 10},
        "zeroline": False,
    }
    colour_bar = {"thickness": 12, "outlinewidth": 0, "ticks": "outside", "ticklen": 3, "tickfont": {"size": 11}}
    return go.layout.Template(
        layout={
            "font": {"family": FONT, "size": 13, "color": INK},
            "title": {
                "font": {"size": 15, "color": INK, "weight": 600},
                "x": 0,
                "xref": "container",
                "xanchor": "left",
                "pad": {"l": 12},
            },
            "paper_bgcolor": "white",
            "plot_bgcolor": "white",
            "colorway": list(CATEGORIES),
            "margin": {"l": 64, "r": 24, "t": 48, "b": 52},
            "xaxis": axis,
            "yaxis": axis,
            "coloraxis": {"colorbar": colour_bar},
            "hoverlabel": {
                "bgcolor": "white",
                "bordercolor": "#9aa5b1",
                "font": {"family": FONT, "size": 12, "color": INK},
            },
            "legend": {
                "tracegroupgap": 0,
                "orientation": "h",
                "x": 0,
                "xanchor": "left",
                "y": 1.02,
                "yanchor": "bottom",
                "font": {"size": 12},
            },
            "annotationdefaults": {"font": {"size": 12, "color": INK}},
            "bargap": 0.25,
        }
    )


def number(value: float | int, digits: int = 3) -> str:
    """A number for people: `digits` significant figures, thousands separated, a true minus sign."""
    if not math.isfinite(value):
        return "–" if value != value else "∞" if value > 0 else "−∞"
    if value == int(value) and abs(value) < 1e15:
        text = f"{int(value):,}"
    elif abs(value) >= 1000:
        text = f"{value:,.0f}"
    else:
        text = f"{value:.{digits}g}"
    return text.replace("-", "−") if "e" not in text else text


def interval(low: float | int, high: float | int, digits: int = 3) -> str:
    """An interval for people: [low, high]; nothing where there is none."""
    if low != low or high != high:
        return ""
    return f"[{number(low, digits)}, {number(high, digits)}]"
