"""Faithfulness over circuit sizes: the curve, its areas as MIB defines them, and its area over the logarithm of size.

Mueller et al. 2025, "MIB: A Mechanistic Interpretability Benchmark", section 3: CMD is the area between the curve and
1, CPR the area under it, both over the share of edges. Two caveats travel with the numbers: the areas are linear in
the share, so that circuits of half to all edges make up half of them; and CPR has no upper bound, so that it rewards
leaving out what works against the answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import InputError

FRACTIONS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""The shares of edges of MIB's curve."""
CAVEATS = {
    "cmd": "Area between the curve and 1, linear in the share of edges: sizes from half to all edges are half of it.",
    "cpr": "Area under the curve, linear in the share of edges; no upper bound: rewards leaving out negative parts.",
    "log_cmd": "Mean distance from 1 over the logarithm of size: small circuits count as much as large ones.",
    "log_cpr": "Mean of the curve over the logarithm of size: small circuits count as much as large ones.",
}
"""What to know about each area."""


def curve_sizes(n_edges: int, sizes: Sequence[int] | None = None) -> tuple[int, ...]:
    """Sizes of a curve, ascending: those given, or MIB's shares of `n_edges`. Raises InputError for sizes outside."""
    if sizes is None:
        return tuple(sorted({max(1, round(share * n_edges)) for share in FRACTIONS}))
    wrong = [size for size in sizes if not 1 <= size <= n_edges]
    if wrong:
        raise InputError(f"a circuit of {wrong[0]} edges does not fit: the graph has {n_edges}; choose 1 to {n_edges}")
    return tuple(sorted(set(sizes)))


def areas(shares: Float[Tensor, " size"], curve: Float[Tensor, " size"]) -> dict[str, float]:
    """CMD, CPR and their logarithmic versions of a curve over ascending shares of edges; NaN for fewer than 2 sizes."""
    if len(shares) < 2:
        return dict.fromkeys(CAVEATS, math.nan)
    shares, curve = shares.double(), curve.double()
    far = (1 - curve).abs()
    log = shares.log()
    width = float(log[-1] - log[0])
    return {
        "cmd": float(torch.trapezoid(far, shares)),
        "cpr": float(torch.trapezoid(curve, shares)),
        "log_cmd": float(torch.trapezoid(far, log)) / width,
        "log_cpr": float(torch.trapezoid(curve, log)) / width,
    }
