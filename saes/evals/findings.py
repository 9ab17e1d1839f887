"""What evaluations found, in sentences: who keeps most at equal sparsity, who is dead or dense, how alike they are.

Measures come as frames: a row for each dictionary, named as in `saes.evals.evaluating`, with its family (architecture).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

MEASURED = {"explained_variance": "explained variance", "ce_recovered_mean": "share of the loss recovered"}


def at_equal_l0(frame: pd.DataFrame, measure: str) -> tuple[float, dict[str, float]] | None:
    """A measure of every family at one number of active latents, interpolated in its logarithm; None for less than two
    families, or where they share no range. The L0 is the middle of the range that all share, on that scale."""
    families = {
        str(name): part.groupby(part["l0"].round(6))[measure].mean()
        for name, part in frame[frame["l0"] > 0].groupby("family", sort=False)
    }
    if len(families) < 2:
        return None
    low = max(curve.index.min() for curve in families.values())
    high = min(curve.index.max() for curve in families.values())
    if low > high:
        # One dictionary a family, all aimed at the same L0, misses it by a little.
        if low > 1.15 * high:
            return None
        low, high = high, low
    middle = math.sqrt(low * high)
    return middle, {
        name: float(np.interp(math.log(middle), np.log(curve.index.to_numpy()), curve.to_numpy()))
        for name, curve in families.items()
    }


def frontier_finding(frame: pd.DataFrame, measure: str) -> str:
    """Which architecture keeps most at equal sparsity."""
    words = MEASURED[measure]
    found = at_equal_l0(frame, measure)
    if found is None:
        best = _largest(frame, measure)
        return (
            f"The largest {words} is {best[measure]:.3f}, of {best['dictionary']} at {best['l0']:.1f} active latents."
        )
    l0, values = found
    order = sorted(values, key=lambda name: -values[name])
    told = ", ".join(f"{name} {values[name]:.3f}" for name in order)
    return f"At {l0:.0f} active latents per token, {words} is: {told} (interpolated between dictionaries)."


def firing_finding(frame: pd.DataFrame) -> str:
    """Who has most dead and most dense latents."""
    dead, dense = _largest(frame, "dead"), _largest(frame, "dense")
    return (
        f"Latents that never fired here: {frame['dead'].min():.1%} to {dead['dead']:.1%} of a dictionary (most in "
        f"{dead['dictionary']}); latents that fire on over a tenth of the tokens: {frame['dense'].min():.2%} to "
        f"{dense['dense']:.2%} (most in {dense['dictionary']})."
    )


def direction_finding(frame: pd.DataFrame) -> str:
    """How alike directions are."""
    high, low = _largest(frame, "nearest_cosine"), frame.sort_values("nearest_cosine").iloc[0]
    return (
        f"The mean largest cosine of a direction with another lies between {low['nearest_cosine']:.3f} "
        f"({low['dictionary']}) and {high['nearest_cosine']:.3f} ({high['dictionary']}); 1 would be doubled latents."
    )


def spread_finding(spread: pd.DataFrame) -> str:
    """How much of a difference may be chance: the largest spread over seeds."""
    worst = _largest(spread, "range")
    return (
        f"Over {int(spread['n'].min())} seeds of the directions at the start, explained variance differs by "
        f"{worst['range']:.4f} at most ({worst['kind']}): smaller differences between dictionaries may be chance."
    )


def _largest(frame: pd.DataFrame, column: str) -> pd.Series[Any]:
    """The row with the largest value."""
    return frame.sort_values(column, ascending=False).iloc[0]
