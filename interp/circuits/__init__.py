"""Circuits: which parts of a model suffice for a behaviour, and how well that claim stands up.

Where to look (each paper's method is the file that carries its name):
    graph, architecture, blocks      writers, readers and edges of a model; what has no such graph is refused
    circuit, circuit_graphs          a set of edges: combined, compared, saved; as a result that can be drawn
    edge_scores, edge_plots, scoring/  `score_edges`, and its methods: eap, eap_ig, exact, edge_pruning, ...
    circuit_search, searching/       `search`, and its ways: top, greedy, acdc, hierarchical, stable
    evaluation/                      `evaluate`: faithfulness, completeness, minimality, the five hypothesis tests, ...
    ground_truth                     the methods against models whose circuits are known
    head_circuits, head_level/       circuits of heads at token positions, and how they are judged
    node_scores, ablation            scores of heads and MLPs; the words for what an ablated edge carries
    masks, mask_*                    how runs of many circuits share a pass
    edges, recording, kept_tokens, norms, projections, memory, moments, task_checks    what scoring is made of
"""

from __future__ import annotations

import importlib
from typing import Any

_NAMES = {
    "Graph": "graph",
    "Circuit": "circuit",
    "score_edges": "edge_scores",
    "EdgeScores": "edge_scores",
    "score_nodes": "node_scores",
    "NodeScores": "node_scores",
    "search": "circuit_search",
    "memory_plan": "memory",
    "MemoryPlan": "memory",
    "ground_truth_table": "ground_truth",
    "GroundTruthTable": "ground_truth",
    "MaskRunner": "masks",
    "AblationTuple": "ablation",
    "evaluate": "evaluation.evaluating",
    "CircuitReport": "evaluation.circuit_report",
    "CircuitEdges": "circuit_graphs",
    "circuit_edges": "circuit_graphs",
    "HeadCircuit": "head_circuits",
    "GroupMeans": "head_level.reference_means",
    "group_means": "head_level.reference_means",
    "HeadFaithfulness": "head_level.faithfulness",
    "head_faithfulness": "head_level.faithfulness",
    "HeadKnockOuts": "head_level.knock_outs",
    "head_knock_outs": "head_level.knock_outs",
    "HeadCompleteness": "head_level.completeness",
    "head_completeness": "head_level.completeness",
    "HeadMinimality": "head_level.minimality",
    "head_minimality": "head_level.minimality",
}
__all__ = [
    "AblationTuple",
    "Circuit",
    "CircuitEdges",
    "CircuitReport",
    "EdgeScores",
    "Graph",
    "GroundTruthTable",
    "GroupMeans",
    "HeadCircuit",
    "HeadCompleteness",
    "HeadFaithfulness",
    "HeadKnockOuts",
    "HeadMinimality",
    "MaskRunner",
    "MemoryPlan",
    "NodeScores",
    "circuit_edges",
    "evaluate",
    "ground_truth_table",
    "group_means",
    "head_completeness",
    "head_faithfulness",
    "head_knock_outs",
    "head_minimality",
    "memory_plan",
    "score_edges",
    "score_nodes",
    "search",
]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(f"interp.circuits.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'interp.circuits' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
