"""Means over examples with intervals from a cluster bootstrap: whole groups are drawn, not single examples.

Examples of one document are alike, so an interval over examples would be too narrow (Cameron & Miller 2015, "A
Practitioner's Guide to Cluster-Robust Inference", section VI on the bootstrap).
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from interp.results import FEWEST

RESAMPLES = 1000


def mean_and_interval(
    each: Shaped[Tensor, "*site example"], groups: Int[Tensor, " example"], seed: int = 0, level: float = 0.95
) -> tuple[Float[Tensor, "*site"], Float[Tensor, "*site"], Float[Tensor, "*site"]]:
    """Mean over the last axis, and a percentile interval from resamples of whole groups; NaN for fewer than 5 groups.

    A resample's mean is the sum over its groups divided by their number of examples.
    """
    values = each.double()
    n_groups = int(groups.max()) + 1
    sums = torch.zeros(*values.shape[:-1], n_groups, dtype=torch.float64).index_add_(-1, groups, values)
    sizes = groups.bincount(minlength=n_groups).double()
    mean = values.mean(-1)
    if n_groups < FEWEST:
        nan = torch.full_like(mean, float("nan")).float()
        return mean.float(), nan, nan.clone()
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(n_groups, (RESAMPLES, n_groups), generator=generator)
    times = torch.zeros(RESAMPLES, n_groups, dtype=torch.float64)
    times.scatter_add_(1, drawn, torch.ones(drawn.shape, dtype=torch.float64))
    means = (sums @ times.T) / (times @ sizes)
    tail = (1 - level) / 2
    low, high = torch.quantile(means, torch.tensor([tail, 1 - tail], dtype=torch.float64), dim=-1)
    return mean.float(), low.float(), high.float()


def with_exact_ends(
    mean: Float[Tensor, "*site"],
    low: Float[Tensor, "*site"],
    high: Float[Tensor, "*site"],
    n_groups: int,
    level: float = 0.95,
) -> tuple[Float[Tensor, "*site"], Float[Tensor, "*site"], Float[Tensor, "*site"]]:
    """Shares with an interval that has a width even where all are 0 or 1, as no resample of them differs.

    There the open end is that of Clopper & Pearson (1934) for groups without a single exception: with `n_groups` of
    them, at most about 3.7 / n_groups of all groups have one. Ends that are NaN stay so.
    """
    exact = ((1 - level) / 2) ** (1 / n_groups)
    low = torch.where((mean == 1) & low.isfinite(), exact, low)
    return mean, low, torch.where((mean == 0) & high.isfinite(), 1 - exact, high)
