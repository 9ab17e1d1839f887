"""`search`: find a circuit, by any of the ways in `interp.circuits.searching`."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from interp.circuits import edge_scores
from interp.circuits.circuit import Circuit
from interp.circuits.graph import Graph
from interp.errors import InputError, unknown
from interp.patching.packing import DEFAULT_BUDGET
from interp.tasks import PromptPairs

METHODS = ("top", "greedy", "acdc", "stable", "hierarchical")
"""Each is a module of `interp.circuits.searching`."""


def search(
    model: Any,
    task: PromptPairs,
    method: str = "acdc",
    *,
    graph: Graph | None = None,
    batch_size: int | None = None,
    memory_budget: int = DEFAULT_BUDGET,
    **options: Any,
) -> Circuit:
    """Find a circuit of a model for a task; how it was found is in its `settings`.

    method, and its options:
        top           n_edges=100, scores="eap-ig" (a method of `score_edges`, or its result), by="abs" | "signed"
        greedy        the same; picks from the logits backwards, so that what is returned is connected
        stable        the same and share=0.8, n_draws=200, seed=0: the edges that most bootstrap draws of the prompts
                      have among their top n
        acdc          threshold=0.02, damage="absolute" | "signed" | "kl", value="counterfactual" | "zero" | "mean" |
                      "resample", order="late" | "early", within=a circuit, resume=True | False | a path: removes every
                      edge whose removal adds less damage than the threshold; a run an edge
        hierarchical  as acdc, without order: nodes first, then edges between nodes, then q, k and v; inexact, cheaper
    With top, greedy and stable further options go to `score_edges` (steps=10, at="clean"). graph: by default that of
    the model over all positions. batch_size: prompts at a time; memory_budget: bytes.

    An interrupted acdc or hierarchical search goes on where it was when it is called again with the same settings.
    Raises InputError for unknown methods and options, and for what a method refuses.
    """
    if method not in METHODS:
        raise unknown("search method", method, METHODS)
    graph = Graph.of(model) if graph is None else graph
    graph.check_same(Graph.of(model, graph.positions))
    module = importlib.import_module(f"interp.circuits.searching.{method}")
    _check_options(method, module.find, options)
    return module.find(model, task, graph, batch_size=batch_size, memory_budget=memory_budget, **options)


def _check_options(method: str, find: Any, options: dict[str, Any]) -> None:
    parameters = inspect.signature(find).parameters
    known = [name for name, one in parameters.items() if one.kind is inspect.Parameter.KEYWORD_ONLY]
    scores = options.get("scores", parameters["scores"].default) if "scores" in parameters else None
    if isinstance(scores, str):
        if scores not in edge_scores.METHODS:
            raise unknown("method that scores edges", scores, edge_scores.METHODS)
        module = importlib.import_module(f"interp.circuits.scoring.{edge_scores.METHODS[scores]}")
        known += ["at", "steps", *getattr(module, "OPTIONS", {})]
    elif scores is not None and not isinstance(scores, edge_scores.EdgeScores):
        raise InputError(f"scores is the name of a method or what score_edges gave, not a {type(scores).__name__}")
    for name in options:
        if name not in known:
            raise unknown(f"option of {method}", name, known)
