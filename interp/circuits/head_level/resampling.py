"""Intervals of numbers that are made of several means: ratios, and sizes of differences (percentile bootstrap)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from interp.results import FEWEST

N_RESAMPLES = 1000


def interval_of(
    statistic: Callable[[Float[Tensor, "resample column"]], Float[Tensor, "resample *out"]],
    per_prompt: Float[Tensor, "prompt column"],
    seed: int = 0,
    level: float = 0.95,
) -> tuple[Float[Tensor, "*out"], Float[Tensor, "*out"]]:
    """The interval of a statistic of column means: prompts are drawn anew, all columns of a prompt together.

    NaN for fewer than `results.FEWEST` prompts, which say too little about spread. Source: Efron & Tibshirani 1993,
    chapter 13.
    """
    n = len(per_prompt)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(n, (N_RESAMPLES, n), generator=generator)
    counts = torch.zeros(N_RESAMPLES, n).scatter_add_(1, drawn, torch.ones(N_RESAMPLES, n))
    values = statistic(counts.double() @ per_prompt.double() / n)
    if n < FEWEST:
        values = torch.full_like(values, float("nan"))
    tail = (1 - level) / 2
    low, high = torch.quantile(values, torch.tensor([tail, 1 - tail], dtype=values.dtype), dim=0).unbind()
    return low.float(), high.float()


def size_interval(
    per_prompt: Float[Tensor, "prompt column"], seed: int = 0
) -> tuple[Float[Tensor, "column"], Float[Tensor, "column"]]:
    """The interval of |mean|: that of the mean, folded at zero, which the size reaches where the mean may be zero."""
    low, high = interval_of(lambda means: means, per_prompt, seed)
    sizes = torch.stack([low.abs(), high.abs()])
    return torch.where((low <= 0) & (high >= 0), 0.0, sizes.amin(0)), sizes.amax(0)


def shares_of(
    whole: Float[Tensor, " prompt"], parts: Float[Tensor, "prompt column"]
) -> tuple[Float[Tensor, "column"], Float[Tensor, "column"], Float[Tensor, "column"]]:
    """mean(part) / mean(whole) of every column, and the two ends of its interval.

    NaN where the mean of the whole is near zero beside the size of its numbers: such a share says nothing.
    """
    columns = torch.cat([whole[:, None], parts], dim=1)

    def ratio(means: Tensor) -> Tensor:
        return means[..., 1:] / means[..., :1]

    three = torch.stack([ratio(columns.mean(0)), *interval_of(ratio, columns)])
    if abs(float(whole.mean())) <= SMALLEST * float(whole.abs().mean()):
        three = torch.full_like(three, float("nan"))
    value, low, high = three
    return value, low, high


SMALLEST = 1e-3
"""Below this share of the metric's own scale, a division would turn noise into numbers."""
