"""Stability: how much of a circuit is found again when the prompts are drawn anew.

Prompts are resampled with replacement, edges ranked again by their mean score, and the top circuits compared by their
Jaccard index with the circuit of all prompts (Méloux et al. 2025 propose 0.8 over at least 100 resamples as a bar).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from interp.circuits.edge_scores import EdgeScores
from interp.errors import InputError


def bootstrap_jaccard(
    scores: EdgeScores, n_edges: int, n_resamples: int = 100, by: str = "abs", seed: int = 0
) -> Float[Tensor, " resample"]:
    """Jaccard index of each resample's top `n_edges` with those of all prompts.

    scores: made with keep_examples=True. by: "abs" or "signed", as in `EdgeScores.top`. Raises InputError for scores
    without single prompts' values, or more edges than there are.
    """
    if "per_example" not in scores.values:
        raise InputError("stability needs the scores of single prompts; use score_edges(..., keep_examples=True)")
    if by not in ("abs", "signed"):
        raise InputError(f"edges are ranked by 'abs' or 'signed', not {by!r}")
    graph = scores.graph
    chosen = scores.top(n_edges, by).mask[graph.exists]
    each = scores.values["per_example"].data[:, graph.exists].nan_to_num()
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(n_resamples):
        rows = torch.randint(len(each), (len(each),), generator=generator)
        means = each[rows].mean(0)
        top = (means.abs() if by == "abs" else means).argsort(descending=True, stable=True)[:n_edges]
        again = torch.zeros_like(chosen)
        again[top] = True
        found.append(int((chosen & again).sum()) / int((chosen | again).sum()))
    return torch.tensor(found)
