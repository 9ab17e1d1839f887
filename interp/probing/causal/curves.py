"""Figures of causal tests: curves of a method beside its controls, on behaviour and on unrelated text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from interp.results import Axis, Plot, Values, interval_words, range_of_draws


@dataclass(frozen=True, eq=False)
class Curve:
    """One line of a figure with its band, over the labels of the x axis."""

    name: str
    middle: Float[Tensor, " x"]
    low: Float[Tensor, " x"]
    high: Float[Tensor, " x"]

    @classmethod
    def of(cls, name: str, values: Mapping[str, Values], key: str, **where: Any) -> Curve:
        """Values with their interval, narrowed to some labels."""
        ends = (
            values[key + end].sel(**where).data if where else values[key + end].data for end in ("", "_low", "_high")
        )
        return cls(name, *ends)

    @classmethod
    def of_draws(cls, name: str, draws: Float[Tensor, "x draw"]) -> Curve:
        """The mean over random draws with the range that holds 95 % of them."""
        if not draws.shape[-1]:
            nothing = torch.full(draws.shape[:-1], math.nan)
            return cls(name, nothing, nothing.clone(), nothing.clone())
        low, high = range_of_draws(draws.movedim(-1, 0))
        return cls(name, draws.mean(-1), low, high)


def interval_note(n_points: int, n_groups: int, group_is: str) -> str:
    """How a caption speaks of the intervals of curves over so many points: the only one has a bar, not a band."""
    return interval_words(n_groups, f"{group_is}s", f"{'bands' if n_points > 1 else 'bars'}: 95 % intervals")


FAR = 8.0
"""How many times the median size the largest must be for the others to be hard to tell from zero beside it."""


def one_dwarfs(curves: Sequence[Curve], over: Literal["x", "curve"]) -> bool:
    """Whether one place on the x axis, or one curve, is so large that the others could not be told from zero."""
    sizes = torch.stack([curve.middle for curve in curves]).abs().nan_to_num(0).amax(0 if over == "x" else 1)
    sizes = sizes[sizes > 0]
    return len(sizes) > 1 and float(sizes.max()) > FAR * float(sizes.median())


def curve_plot(
    values: dict[str, Values],
    name: str,
    curves: Sequence[Curve],
    x: Axis,
    unit: str,
    *,
    uneven: Literal["x", "curve"] | None = None,
    **plot: Any,
) -> Plot:
    """A line plot of the curves, which are put into `values` under the name.

    uneven: where one place on the x axis, or one curve, may dwarf the others; then the vertical scale is one of square
    roots, and the caption says so.
    """
    if uneven is not None and one_dwarfs(curves, uneven):
        what = x.name if uneven == "x" else "curve"
        plot["options"] = plot.get("options", {}) | {"y_scale": "root"}
        plot["caption"] += f" Upwards a scale of square roots, since one {what} is far larger than the others."
    axes = (Axis("curve", tuple(curve.name for curve in curves)), x)
    for end, part in (("", "middle"), ("_low", "low"), ("_high", "high")):
        values[name + end] = Values(torch.stack([getattr(curve, part).float() for curve in curves]), axes, unit)
    options = {"zero_line": True, "y_label": unit} | plot.pop("options", {})
    bands = {"low": f"{name}_low", "high": f"{name}_high"}
    return Plot("lines", name, x=x.name, series="curve", **bands, options=options, **plot)
