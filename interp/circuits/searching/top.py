"""The edges with the largest scores, whether or not they hang together.

The selection of edge attribution patching (Syed, Rager and Conmy 2023). Such a circuit may contain edges that lead
nowhere; `greedy` takes none of them.
"""

from __future__ import annotations

from typing import Any

from interp.circuits.circuit import Circuit
from interp.circuits.edge_scores import SHARES, EdgeScores, score_edges
from interp.circuits.graph import Graph
from interp.errors import InputError
from interp.patching.packing import DEFAULT_BUDGET
from interp.tasks import PromptPairs


def find(
    model: Any,
    task: PromptPairs,
    graph: Graph,
    *,
    n_edges: int = 100,
    scores: str | EdgeScores = "eap-ig",
    by: str = "abs",
    batch_size: int | None = None,
    memory_budget: int = DEFAULT_BUDGET,
    **scoring: Any,
) -> Circuit:
    """The n edges with the largest |score| (by="abs") or score (by="signed").

    scores: the method that scores them, with its own arguments (`steps=10`), or scores that are there already. Raises
    InputError for more edges than there are, scores of another model, and scores that say nothing across readers.
    """
    known = scores_of(model, task, graph, scores, batch_size=batch_size, memory_budget=memory_budget, **scoring)
    refuse_shares(known)
    return known.top(n_edges, by)


def scores_of(model: Any, task: PromptPairs, graph: Graph, scores: str | EdgeScores, **arguments: Any) -> EdgeScores:
    """Scores by name, or the given ones if they are of this graph."""
    if isinstance(scores, str):
        return score_edges(model, task, scores, graph=graph, **arguments)
    graph.check_same(scores.graph)
    return scores


def refuse_shares(scores: EdgeScores) -> None:
    """Raise InputError for scores that compare the writers of one reader only."""
    if scores.settings["method"] in SHARES:
        raise InputError(
            f"{scores.settings['method']} scores are each reader's shares, which say nothing across readers; "
            "use method='greedy'"
        )
