"""Orthogonal Procrustes: how much of one representation a rotation of the other reproduces.

Both are centred and scaled to length 1; the similarity is the nuclear norm of their cross-product, the cosine of the
angle that is left after the best rotation (Schönemann 1966; Williams et al. 2021, "Generalized Shape Metrics on
Neural Representations"; Ding et al. 2021, "Grounding Representation Similarity with Statistical Testing", whose
squared distance is 2 - 2 times this). Where the widths differ the narrower is thought filled up with zeros.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def unit_rows(x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """The representation centred and scaled to length 1 over all its entries; zeros where it does not vary."""
    rows = x.double()
    rows = rows - rows.mean(0)
    return rows / torch.linalg.matrix_norm(rows).clamp(min=1e-300)


def rotated_overlap(x: Float[Tensor, "n d1"], y: Float[Tensor, "n d2"]) -> float:
    """The cosine between two representations made by `unit_rows` after the best rotation, 0 to 1."""
    return float(torch.linalg.svdvals(x.T @ y).sum().clamp(max=1.0))
