"""From the values of a result to the arrays a figure draws: which axis goes where, and which labels fit.

Positions on an axis are always indices with tick texts beside them: plotly merges equal labels, and tokens repeat.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from interp.errors import InputError
from interp.results.plots import check_plot
from interp.viz.text import for_plotly

if TYPE_CHECKING:
    from interp.results import Axis, Plot, Result, Values

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Arranged:
    """The values of a plot with their dimensions in drawing order.

    data: one dimension per axis, outermost first; axes: None for a role no axis plays, where the dimension has size 1.
    low, high: the bounds of the interval, in the same order, or None. unit: what the numbers are. places: where each
    number stands in the flattened values of the result, for texts that run beside them.
    """

    data: Array
    axes: tuple[Axis | None, ...]
    low: Array | None
    high: Array | None
    unit: str
    places: Array | None = None


def arrange(result: Result, plot: Plot, roles: Sequence[str | None]) -> Arranged:
    """The plot's values with dimensions in the order of `roles`: axis names, or None for an axis that is left.

    Axes that no role names fill the open roles in order; one of a single label is dropped when no role is open.
    Raises InputError for unknown names, and for an axis that finds no role.
    """
    check_plot(plot, result.values)
    values = result.values[plot.values]
    order = _order(values, plot, roles)
    axes = tuple(None if i is None else values.axes[i] for i in order)
    low, high = (_transposed(as_array(result.values[name]), order) if name else None for name in (plot.low, plot.high))
    data = as_array(values)
    places = _transposed(np.arange(data.size).reshape(data.shape), order)
    return Arranged(_transposed(data, order), axes, low, high, values.unit, places)


def as_array(values: Values) -> Array:
    """The values as a float64 array, whatever their dtype."""
    return values.data.double().numpy()


def _order(values: Values, plot: Plot, roles: Sequence[str | None]) -> list[int | None]:
    """For each role the axis that plays it."""
    n_open = sum(role is None for role in roles)
    left = [i for i, name in enumerate(values.dims) if name not in roles]
    wide = [i for i in left if len(values.axes[i]) > 1]
    if len(wide) > n_open:
        raise InputError(
            f"a {plot.kind} of {plot.values!r} has no room for the axis {values.dims[wide[0]]!r}: choose a label with "
            f"result.sel(...), average over it, or name it in the plot's x, y or series"
        )
    narrow = [i for i in left if i not in wide]
    queue = sorted(wide + narrow[: n_open - len(wide)])
    # Filled from the innermost role outwards, so that a vector plays x and not y.
    order = [
        values.dims.index(role) if role is not None else queue.pop() if queue else None for role in reversed(roles)
    ]
    return order[::-1]


def _transposed(array: Array, order: Sequence[int | None]) -> Array:
    """The array with dimensions in `order`: None adds one of size 1, and those not in `order` (of size 1) go."""
    kept = [i for i in order if i is not None]
    rest = [i for i in range(array.ndim) if i not in kept]
    array = array.transpose([*kept, *rest])
    array = array.reshape(array.shape[: len(kept)])
    for dimension, i in enumerate(order):
        if i is None:
            array = np.expand_dims(array, dimension)
    return array


@dataclass(frozen=True)
class Ticks:
    """Where an axis has labels, and which. angle: how far they are turned."""

    positions: list[int]
    texts: list[str]
    angle: int = 0

    @property
    def height(self) -> float:
        """Pixels below a horizontal axis that the labels and the axis title take."""
        longest = max((len(html.unescape(text)) for text in self.texts), default=0)
        return {0: 50.0, -45: 44 + 4.6 * longest, -90: 40 + 6.6 * longest}[self.angle]

    def axis(self, title: str) -> dict[str, object]:
        """The plotly settings of this axis."""
        return {
            "tickmode": "array",
            "tickvals": self.positions,
            "ticktext": self.texts,
            "tickangle": self.angle,
            "title": {"text": for_plotly(title)},
        }


def labels_of(axis: Axis | None) -> list[str | int]:
    """The labels of an axis; one empty label where there is no axis."""
    return [""] if axis is None else list(axis.labels)


def title_of(axis: Axis | None) -> str:
    """The name of an axis as people write it."""
    return "" if axis is None else axis.name.replace("_", " ")


def x_ticks(labels: Sequence[str | int], width: float | int) -> Ticks:
    """Ticks of a horizontal axis `width` pixels long: turned, cut and thinned until nothing overlaps."""
    room = width / max(len(labels), 1)
    whole = [for_plotly(label) for label in labels]
    if max((len(text) for text in whole), default=0) * 7.5 + 6 <= room:
        return _thinned(whole, 1)
    texts = [for_plotly(label, 16) for label in labels]
    longest = max((len(text) for text in texts), default=0)
    if longest * 7.5 + 6 <= room:
        return _thinned(texts, 1)
    if _are_numbers(labels):  # numbers stay upright; every second, fifth, tenth ... is enough
        return _thinned(texts, _step(max(1, int(np.ceil((longest * 7.5 + 8) / room)))))
    return _thinned(texts, max(1, int(np.ceil(12 / room))), angle=-90 if room < 22 else -45)


def y_ticks(labels: Sequence[str | int], height: float | int, limit: int = 24) -> Ticks:
    """Ticks of a vertical axis `height` pixels long, each of at most `limit` characters."""
    room = height / max(len(labels), 1)
    step = max(1, int(np.ceil(12.5 / room)))
    return _thinned([for_plotly(label, limit) for label in labels], _step(step) if _are_numbers(labels) else step)


def _thinned(texts: list[str], step: int, angle: int = 0) -> Ticks:
    positions = list(range(0, len(texts), step))
    return Ticks(positions, [texts[i] for i in positions], angle)


def _step(least: int) -> int:
    return next(step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10**9) if step >= least)


def _are_numbers(labels: Sequence[str | int]) -> bool:
    return all(isinstance(label, int | float) or str(label).lstrip("-").isdigit() for label in labels)


def numeric(labels: Sequence[str | int]) -> list[float] | None:
    """The labels as numbers when every one is a number (also written as text), else None."""
    try:
        numbers = [float(label) for label in labels]
    except (TypeError, ValueError):
        return None
    return numbers if len(set(numbers)) == len(numbers) and np.isfinite(numbers).all() else None
