"""How sure a mean is: seeded percentile bootstrap over examples (Efron & Tibshirani 1993, chapter 13)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from interp.errors import InputError
from interp.results.axes import Values

FEWEST = 5
"""An interval needs this many examples: resamples of fewer vary so little that it would claim far too much."""
_BUDGET = 32 * 2**20
"""Bytes that the weights of a block of resamples, or the resampled means of a block of columns, may take."""


def bootstrap_interval(
    data: Shaped[Tensor, "..."], axis: int, n_resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
    """Percentile interval of the mean over `axis`, from resamples of that axis drawn with replacement.

    Whole rows are resampled together, so differences between columns keep their pairing. The answer has the shape of
    `data` without `axis`, and its unit. Fewer than `FEWEST` rows say too little about spread: the interval is then NaN,
    which figures and tables leave out; NaN in a column gives NaN for that column. Memory beside the data and a copy of
    a block of columns stays at a few hundred MB. Raises InputError for no rows at all, a level outside (0, 1), or no
    resamples.
    """
    if not 0 < level < 1:
        raise InputError(f"level is the share of resamples inside the interval and lies between 0 and 1, not {level}")
    if n_resamples < 1:
        raise InputError(f"n_resamples must be at least 1, not {n_resamples}")
    n = data.shape[axis]
    if n == 0:
        raise InputError("an interval needs at least one example, but the axis is empty")
    rows = data.detach().movedim(axis, 0)
    shape = rows.shape[1:]
    dtype = torch.float64 if data.dtype == torch.float64 or not data.is_floating_point() else torch.float32
    if n < FEWEST:
        nan = torch.full(shape, float("nan"), dtype=dtype)
        return nan, nan.clone()
    columns = rows.reshape(n, -1)
    width = max(1, _BUDGET // (n_resamples * dtype.itemsize))
    width = min(width, max(1, _BUDGET // (n * dtype.itemsize)))
    parts = [_interval(part.to(dtype), n_resamples, level, seed) for part in columns.split(width, dim=1)]
    low, high = (torch.cat(ends).reshape(shape) for ends in zip(*parts, strict=True))
    return low, high


def range_of_draws(
    draws: Float[Tensor, "draw ..."], level: float = 0.95
) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
    """The range that holds `level` of some random draws, as its two ends; NaN for fewer than `FEWEST` draws."""
    tail = (1 - level) / 2
    low, high = torch.quantile(draws, torch.tensor([tail, 1 - tail], dtype=draws.dtype), dim=0).unbind()
    if len(draws) >= FEWEST:
        return low, high
    return torch.full_like(low, float("nan")), torch.full_like(high, float("nan"))


def range_words(n_draws: int) -> str:
    """How captions speak of a range of draws: "the range of 95 % of 14 draws", or that there is none and why."""
    if n_draws >= FEWEST:
        return f"the range of 95 % of {n_draws} draws"
    return f"no range, since {n_draws} draw{'s are' if n_draws > 1 else ' is'} too few for any"


def interval_words(n: int, over: str, what: str = "95 % intervals") -> str:
    """How captions speak of intervals: "95 % intervals over 16 prompts", or that there are none and why."""
    if n >= FEWEST:
        return f"{what} over {n} {over}"
    some = f"{n} {over} are" if n != 1 else f"{n} {over.removesuffix('s')} is"
    return f"no intervals, since {some} too few for any"


def mean_with_interval(values: Values, over: str = "example", seed: int = 0) -> dict[str, Values]:
    """The mean over one axis with its 95 % bootstrap interval: {"mean", "low", "high"}, each without that axis."""
    dim = values.dims.index(values.axis(over).name)
    low, high = bootstrap_interval(values.data, dim, seed=seed)
    axes = values.axes[:dim] + values.axes[dim + 1 :]
    mean = values.data.to(low.dtype).mean(dim)
    ends = {"low": "lower end of the 95 % bootstrap interval", "high": "upper end of the 95 % bootstrap interval"}
    out = {"mean": replace(values, data=mean, axes=axes, description=values.description or f"mean over {over}")}
    for name, data in (("low", low), ("high", high)):
        out[name] = replace(values, data=data, axes=axes, description=ends[name])
    return out


def _interval(
    columns: Float[Tensor, "n columns"], n_resamples: int, level: float, seed: int
) -> tuple[Float[Tensor, "columns"], Float[Tensor, "columns"]]:
    mean = columns.mean(0)
    # Deviations from the mean keep float32 exact where it matters, and a constant column has an interval of width 0.
    resampled = _resampled_means(columns - mean, n_resamples, seed)
    tail = (1 - level) / 2
    low, high = np.quantile(resampled.numpy(), [tail, 1 - tail], axis=-1)
    return mean + torch.from_numpy(low).to(mean), mean + torch.from_numpy(high).to(mean)


def _resampled_means(
    columns: Float[Tensor, "n columns"], n_resamples: int, seed: int
) -> Float[Tensor, "columns resamples"]:
    """Mean of each column in each resample, as a matrix product with how often each row was drawn.

    The draws depend on the seed alone: every block of columns sees the same resamples.
    """
    n = len(columns)
    generator = torch.Generator().manual_seed(seed)
    means = columns.new_empty(columns.shape[1], n_resamples)
    block = min(n_resamples, max(1, _BUDGET // (n * (8 + columns.itemsize))))
    # One set of buffers for all blocks: fresh ones of this size fragment the heap to several times the budget.
    drawn = torch.empty(block, n, dtype=torch.long)
    counts = columns.new_empty(block, n)
    one = columns.new_ones(()).expand(block, n)
    for start in range(0, n_resamples, block):
        size = min(block, n_resamples - start)
        torch.randint(n, (size, n), generator=generator, out=drawn[:size])
        counts.zero_().scatter_add_(1, drawn[:size], one[:size])
        means[:, start : start + size] = columns.T @ counts[:size].T
    return means.div_(n)
