"""Where numbers stand on an axis: ticks at what was measured, and a vertical scale of square roots."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from interp.viz import theme
from interp.viz.arranging import Arranged
from interp.viz.text import for_plotly

Array = np.ndarray

MOST_TICKS = 16
_LETTER, _SPACE = 7.5, 10.0  # pixels of a letter of a tick, and between two ticks
_APART = 0.09  # share of a rooted axis between two ticks


def number_ticks(labels: Sequence[str | int], numbers: Sequence[float], width: float) -> dict[str, Any]:
    """The plotly settings of a horizontal axis of numbers that is `width` pixels long.

    A tick at every number that was measured where they have room; otherwise plotly's own, no finer than whole numbers
    where all are whole, since there is no layer 0.5.
    """
    texts = [theme.number(label) if isinstance(label, int) else _with_minus(label) for label in labels]
    order = sorted(range(len(numbers)), key=lambda i: numbers[i])
    span = numbers[order[-1]] - numbers[order[0]]
    if len(order) <= MOST_TICKS and all(
        (numbers[j] - numbers[i]) / span * width * 0.9 >= (len(texts[i]) + len(texts[j])) / 2 * _LETTER + _SPACE
        for i, j in itertools.pairwise(order)
    ):
        return {"tickmode": "array", "tickvals": list(numbers), "ticktext": texts}
    whole = all(number == int(number) for number in numbers)
    return {"dtick": 1} if whole and span < 10 else {}


def _with_minus(label: str) -> str:
    """A number that is written as text, with a true minus sign as everywhere."""
    text = for_plotly(label)
    return text if "e" in text else text.replace("-", "−")


def rooted(numbers: Any) -> Any:
    """Signed square roots, which bring the small nearer to the large and leave 0 and the order as they are."""
    return np.sign(numbers) * np.sqrt(np.abs(numbers))


def with_roots(shown: Arranged) -> Arranged:
    """The same with every number rooted."""
    ends = (None if end is None else rooted(end) for end in (shown.low, shown.high))
    low, high = ends
    return replace(shown, data=rooted(shown.data), low=low, high=high)


def root_ticks(low: float, high: float) -> dict[str, Any]:
    """Ticks of a rooted axis between two numbers as they were measured, 0 among them, far enough from each other."""
    low, high = min(low, 0.0), max(high, 0.0)
    span = float(rooted(high) - rooted(low))
    kept = [0.0]
    for end in (high, low):
        if end == 0:
            continue
        sign, last = np.sign(end), float("inf")
        for size in _round_numbers(abs(end)):
            place = size**0.5
            if last - place >= _APART * span and place >= _APART * span:
                kept.append(float(sign * size))
                last = place
    kept.sort()
    return {
        "tickmode": "array",
        "tickvals": rooted(np.array(kept)).tolist(),
        "ticktext": [theme.number(k) for k in kept],
    }


def _round_numbers(most: float) -> list[float]:
    """1, 2 and 5 times powers of ten up to `most`, four powers of them, the largest first."""
    power = int(np.floor(np.log10(most)))
    found = [float(f"{digit}e{power - down}") for down in range(4) for digit in (5, 2, 1)]
    return [number for number in found if number <= most]


def log_ticks(numbers: Iterable[float]) -> dict[str, Any]:
    """A logarithmic axis with labels of one size, at round numbers: more of them where powers of ten are few."""
    sizes = [number for number in numbers if number > 0]
    low, high = (min(sizes), max(sizes)) if sizes else (1.0, 1.0)
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    digits = (1,) if len(powers) > 5 else (1, 2, 5) if len(powers) > 2 else (1, 2, 3, 5, 7)
    ticks = [float(f"{digit}e{power}") for power in powers for digit in digits]
    return {"type": "log", "tickmode": "array", "tickvals": ticks, "ticktext": [theme.number(tick) for tick in ticks]}
