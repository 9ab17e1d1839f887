"""Edges that are among the top ones whichever prompts happen to be drawn.

Prompts are drawn with replacement, the mean scores of every draw select their own top edges, and an edge stays when
most draws selected it: stability selection (Meinshausen and Bühlmann 2010) with a bootstrap. How much circuits change
with the prompts, Méloux et al. 2025 show for EAP-IG. Scores of each prompt are computed once; a draw costs no run.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interp.circuits.circuit import Circuit
from interp.circuits.edge_scores import EdgeScores, check_size, ranking
from interp.circuits.graph import Graph
from interp.circuits.searching.top import refuse_shares, scores_of
from interp.errors import InputError
from interp.patching.packing import DEFAULT_BUDGET
from interp.tasks import PromptPairs

DRAWS_AT_ONCE = 16


def find(
    model: Any,
    task: PromptPairs,
    graph: Graph,
    *,
    n_edges: int = 100,
    scores: str | EdgeScores = "eap-ig",
    by: str = "abs",
    share: float = 0.8,
    n_draws: int = 200,
    seed: int = 0,
    batch_size: int | None = None,
    memory_budget: int = DEFAULT_BUDGET,
    **scoring: Any,
) -> Circuit:
    """The edges that at least `share` of the draws have among their top n; as many as there are, often less than n.

    Other arguments as for `top.find`; scores that are given must have been made with keep_examples=True.
    """
    _check(share, n_draws)
    known = scores_of(
        model,
        task,
        graph,
        scores,
        keep_examples=True,
        batch_size=batch_size,
        memory_budget=memory_budget,
        **scoring,
    )
    often = selection_frequency(known, n_edges, by=by, n_draws=n_draws, seed=seed)
    described = {name: value for name, value in known.settings.items() if name != "graph"}
    settings = {"search": "stable", "n_edges": n_edges, "by": by, "share": share, "n_draws": n_draws, "seed": seed}
    return Circuit(graph, graph.exists & (often >= share), settings | {"scores": described})


def selection_frequency(
    scores: EdgeScores, n_edges: int, *, by: str = "abs", n_draws: int = 200, seed: int = 0
) -> Float[Tensor, "writers readers"]:
    """The share of bootstrap draws of the prompts that have each edge among their top n.

    Raises InputError for scores without the values of each prompt.
    """
    refuse_shares(scores)
    if "per_example" not in scores.values:
        raise InputError("these scores are means over prompts; use score_edges(..., keep_examples=True)")
    check_size(n_edges, scores.score)
    edges = ~scores.score.isnan()
    each = scores.values["per_example"].data[:, edges]
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.zeros(each.shape[1])
    for start in range(0, n_draws, DRAWS_AT_ONCE):
        n = min(DRAWS_AT_ONCE, n_draws - start)
        drawn = torch.randint(len(each), (n, len(each)), generator=generator)
        counts = torch.zeros(n, len(each)).scatter_add_(1, drawn, torch.ones(n, len(each)))
        keys = ranking(counts @ each / len(each), by)
        best = keys.argsort(dim=1, descending=True, stable=True)[:, :n_edges]
        chosen.scatter_add_(0, best.flatten(), torch.ones(best.numel()))
    often = torch.zeros(edges.shape)
    often[edges] = chosen / n_draws
    return often


def _check(share: float, n_draws: int) -> None:
    if not 0 < share <= 1:
        raise InputError(f"share is the part of the draws that must select an edge, above 0 and at most 1, not {share}")
    if n_draws < 1:
        raise InputError(f"n_draws is how often prompts are drawn, at least 1, not {n_draws}")
