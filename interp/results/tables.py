"""Results as tables: long frames and the rows that matter most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Shaped
from torch import Tensor

from interp.errors import InputError, nearest
from interp.results.axes import Values
from interp.results.plots import Plot

Order = Literal["abs", "signed"]


def frame(values: Values, bounds: Mapping[str, Values]) -> pd.DataFrame:
    """One row a number: a column for each axis, then "value", then the bounds ("low", "high") that are given."""
    return _rows(values, bounds, torch.arange(values.data.numel()))


def top_frame(values: Values, bounds: Mapping[str, Values], n: int, by: Order) -> pd.DataFrame:
    """The n rows with the largest |value| ("abs") or value ("signed"), largest first; equals keep their order."""
    if by not in ("abs", "signed"):
        raise InputError(f"top cannot order by {by!r}{nearest(by, ['abs', 'signed'])}")
    if n < 1:
        raise InputError(f"top needs n of at least 1, not {n}")
    key = _sort_key(values.data.flatten(), by)
    best = torch.topk(key, min(n, key.numel()), sorted=False).indices.sort().values
    best = best[torch.argsort(key[best], descending=True, stable=True)]
    return _rows(values, bounds, best)


def bounds_of(name: str, values: Mapping[str, Values], plots: Sequence[Plot]) -> dict[str, Values]:
    """The interval ends of `values[name]`: named by a plot, or called "<name>_low", or "low" beside the mean.

    A plain "low" belongs to the headline (the first values) and to the values called "mean". Same axes required.
    """
    out = {}
    for end in ("low", "high"):
        named = [getattr(plot, end) for plot in plots if plot.values == name]
        plain_name = [end] if name == "mean" or name == next(iter(values)) else []
        for candidate in [*named, f"{name}_{end}", *plain_name]:
            if candidate in values and candidate != name and values[candidate].axes == values[name].axes:
                out[end] = values[candidate]
                break
    return out


def _rows(values: Values, bounds: Mapping[str, Values], flat: Shaped[Tensor, "rows"]) -> pd.DataFrame:
    columns: dict[str, object] = {}
    places = np.unravel_index(flat.numpy(), tuple(values.data.shape)) if values.axes else ()
    for axis, place in zip(values.axes, places, strict=True):
        columns[axis.name] = _labels(axis.labels)[place]
    for name, source in {"value": values, **bounds}.items():
        columns[name] = _numpy(source.data.flatten()[flat])
    return pd.DataFrame(columns)


def _labels(labels: tuple[str | int, ...]) -> np.ndarray:
    """Labels as an array that stays whole numbers, or stays text; numpy would turn a mixture into text."""
    whole = bool(labels) and all(isinstance(label, int) for label in labels)
    out = np.empty(len(labels), dtype=np.int64 if whole else object)
    out[:] = labels
    return out


def _numpy(data: Shaped[Tensor, "rows"]) -> np.ndarray:
    """numpy has no bfloat16, and its frames no float16 worth having: both become float32."""
    return (data.float() if data.dtype in (torch.bfloat16, torch.float16) else data).numpy()


def _sort_key(data: Shaped[Tensor, "numbers"], by: Order) -> Shaped[Tensor, "numbers"]:
    """What to sort by, with NaN last."""
    number = data.to(torch.uint8) if data.dtype == torch.bool else data
    key = number.abs() if by == "abs" and number.dtype != torch.uint8 else number
    if not key.is_floating_point():
        return key
    return key.nan_to_num(nan=float("-inf"), posinf=float("inf"), neginf=float("-inf"))
