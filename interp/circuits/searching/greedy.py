"""Edges picked by score from the logits backwards, so that every one of them leads to the logits.

Hanna, Pezzelle and Belinkov 2024, "Have Faith in Faithfulness", on the greedy choice of edges: begin with the logits;
of all edges into nodes of the circuit take the one with the largest score; its writer joins the circuit. Edges whose
writer nothing reaches are no part of what is returned, and picking goes on until the connected rest has the size asked
for (the authors prune afterwards and end up smaller).
"""

from __future__ import annotations

import heapq
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interp.circuits.circuit import Circuit
from interp.circuits.edge_scores import EdgeScores, check_size, ranking
from interp.circuits.graph import Graph
from interp.circuits.searching.top import scores_of
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
    """The largest connected circuit of greedily picked edges that has at most n of them.

    Arguments as for `top.find`. One pick may connect several edges at once, so that a few less than n may be there.
    """
    known = scores_of(model, task, graph, scores, batch_size=batch_size, memory_budget=memory_budget, **scoring)
    check_size(n_edges, known.score)
    picks = picking_order(graph, ranking(known.score, by))
    # What is connected grows with the picks.
    least, most = 0, len(picks)
    while least < most:
        middle = (least + most + 1) // 2
        least, most = (middle, most) if _connected(graph, picks, middle).n_edges <= n_edges else (least, middle - 1)
    found = _connected(graph, picks, least)
    described = {name: value for name, value in known.settings.items() if name != "graph"}
    settings = {"search": "greedy", "n_edges": n_edges, "by": by, "n_picked": least, "scores": described}
    return Circuit(graph, found.mask, settings)


def picking_order(graph: Graph, keys: Float[Tensor, "writers readers"]) -> list[tuple[int, int]]:
    """(row, column) of every edge that can be picked, in the order in which it would be; equals as in the matrix."""
    sorted_in = [column.nonzero()[:, 0].tolist() for column in graph.feeds.T]
    values = keys.tolist()
    opened: set[int] = set()
    waiting: list[tuple[float, int, int]] = []
    picks: list[tuple[int, int]] = []

    def open_reader(column: int) -> None:
        if column in opened:
            return
        opened.add(column)
        for row in graph.exists[:, column].nonzero()[:, 0].tolist():
            if values[row][column] > float("-inf"):
                heapq.heappush(waiting, (-values[row][column], row, column))

    for column in (graph.reader_layer == graph.n_layers).nonzero()[:, 0].tolist():
        open_reader(column)
    while waiting:
        _, row, column = heapq.heappop(waiting)
        picks.append((row, column))
        for reader in sorted_in[row]:
            open_reader(reader)
    return picks


def _connected(graph: Graph, picks: list[tuple[int, int]], n: int) -> Circuit:
    mask = torch.zeros_like(graph.exists)
    if n:
        rows, columns = torch.tensor(picks[:n]).T
        mask[rows, columns] = True
    return Circuit(graph, mask).prune()
