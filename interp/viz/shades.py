"""What stands on a colour, and beside a scale: text that can be read, and ends that say what lies beyond them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from interp.viz import theme
from interp.viz.arranging import Array

WHITE = "#ffffff"


def readable(texts: Array, data: Array, scale: Sequence[Sequence[Any]], low: float, high: float) -> Array:
    """Texts of cells, white where that stands out more from the cell's colour than ink does.

    Plotly's own choice is grey or white by a threshold, and grey on a middle blue cannot be read.
    """
    return np.vectorize(
        lambda text, value: f'<span style="color:{WHITE}">{text}</span>' if _is_dark(value, scale, low, high) else text,
        otypes=[object],
    )(texts, data)


def _is_dark(value: float, scale: Sequence[Sequence[Any]], low: float, high: float) -> bool:
    if not np.isfinite(value):
        return False
    colour = colour_at(float(np.clip((value - low) / (high - low), 0, 1)), scale)
    return contrast(colour, _rgb(WHITE)) > contrast(colour, _rgb(theme.INK))


def colour_at(place: float, scale: Sequence[Sequence[Any]]) -> Array:
    """Red, green and blue, 0 to 255, at a place from 0 to 1 of a colour scale."""
    stops = [float(stop) for stop, _ in scale]
    colours = np.array([_rgb(str(colour)) for _, colour in scale])
    return np.array([np.interp(place, stops, colours[:, i]) for i in range(3)])


def contrast(one: Array, other: Array) -> float:
    """The contrast ratio of two colours, 1 to 21 (W3C 2018, "Web Content Accessibility Guidelines 2.1")."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: Array) -> float:
    part = np.asarray(colour, dtype=float) / 255
    linear = np.where(part <= 0.03928, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    return float(linear @ np.array([0.2126, 0.7152, 0.0722]))


def _rgb(colour: str) -> Array:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], dtype=float)


def clipped_ticks(low: float, high: float, below: bool, above: bool) -> dict[str, Any]:
    """Ticks of a colour bar whose ends stand for everything beyond them as well: "≥ 9"."""
    places = np.linspace(low, high, 5 if low < 0 < high else 4)
    texts = [theme.number(float(place)) for place in places]
    texts[0] = f"≤ {texts[0]}" if below else texts[0]
    texts[-1] = f"≥ {texts[-1]}" if above else texts[-1]
    return {"tickmode": "array", "tickvals": places.tolist(), "ticktext": texts}
