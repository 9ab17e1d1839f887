"""Figures of causal tests: curves of a method beside its controls, on behaviour and on unrelated text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interp.results import Axis, Plot, Values, range_of_draws


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


def curve_plot(values: dict[str, Values], name: str, curves: Sequence[Curve], x: Axis, unit: str, **plot: Any) -> Plot:
    """A line plot of the curves, which are put into `values` under the name."""
    axes = (Axis("curve", tuple(curve.name for curve in curves)), x)
    for end, part in (("", "middle"), ("_low", "low"), ("_high", "high")):
        values[name + end] = Values(torch.stack([getattr(curve, part).float() for curve in curves]), axes, unit)
    options = {"zero_line": True, "y_label": unit} | plot.pop("options", {})
    bands = {"low": f"{name}_low", "high": f"{name}_high"}
    return Plot("lines", name, x=x.name, series="curve", **bands, options=options, **plot)
