"""A search in three steps, each within what the one before left: nodes, edges between nodes, queries/keys/values.

Inexact: a node is removed with all its edges at once, so that one whose edges cancel each other goes, with edges that
ACDC would have kept; and the same threshold asks less of one edge than of a node. What is gained is that a large graph
is never tried edge by edge. The nodes come first as in node-level ACDC (Conmy et al. 2023, section 3); what is left is
refined by the same rule.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from interp.circuits.circuit import Circuit
from interp.circuits.graph import Graph
from interp.circuits.searching.acdc import (
    check_threshold,
    connected,
    edge_by_edge,
    rows_and_columns,
    search_settings,
    starting_circuit,
)
from interp.circuits.searching.damage import Damage
from interp.circuits.searching.keeping import SearchFile, mask_code
from interp.circuits.searching.nested_masks import Trials
from interp.circuits.task_checks import check_task
from interp.patching.packing import DEFAULT_BUDGET
from interp.tasks import PromptPairs


def find(
    model: Any,
    task: PromptPairs,
    graph: Graph,
    *,
    threshold: float = 0.02,
    damage: str = "absolute",
    value: str = "counterfactual",
    within: Circuit | None = None,
    resume: str | Path | bool = True,
    batch_size: int | None = None,
    memory_budget: int = DEFAULT_BUDGET,
) -> Circuit:
    """The circuit that is left when no node, then no edge between nodes, then no single q, k or v edge could go.

    Arguments and errors as for `acdc.find`. `settings["exact"]` of the circuit is False.
    """
    check_task(model, task, gradients=False)
    check_threshold(threshold)
    start = starting_circuit(graph, within)
    measure = Damage(model, task, graph, damage, value=value, batch_size=batch_size, memory_budget=memory_budget)
    settings = search_settings("hierarchical", task, measure, threshold, value)
    file = SearchFile(resume, settings | {"graph": graph.describe(), "start": mask_code(start.mask)})
    left, n_circuits, last = start, 0, 0.0
    for stage, about in (("nodes", "nodes tried"), ("pairs", "pairs of nodes tried"), ("edges", "edges tried")):
        trials = _trials(stage, left)
        if len(trials):
            state = file.run(stage, trials, left.mask, measure, threshold, about)
            left = Circuit(graph, state.mask)
            n_circuits, last = n_circuits + state.n_circuits, state.damage
    file.forget()
    spent = {"n_circuits": n_circuits, "damage_of_circuit": last}
    found = connected(left, value)
    return Circuit(graph, found.mask, settings | spent | {"n_kept": left.n_edges, "exact": False})


def _trials(stage: str, circuit: Circuit) -> Trials:
    if stage == "edges":
        return edge_by_edge(circuit)
    rows, _ = rows_and_columns(circuit.graph)
    if stage == "nodes":
        # A node is gone when nothing reads it. The embedding is not tried: without it there is no circuit.
        read = circuit.mask & (circuit.graph.writer_layer >= 0)[:, None]
        return Trials.of(read, rows, torch.zeros_like(rows))
    return Trials.of(circuit.mask, reading_nodes(circuit.graph).expand_as(rows), rows)


def reading_nodes(graph: Graph) -> Int[Tensor, " readers"]:
    """A number for each reader's node, in order of computation: heads that share keys and values are one node."""
    nodes, count, places = torch.zeros(len(graph.readers), dtype=torch.long), 0, torch.arange(graph.places)
    groups = torch.arange(graph.n_key_value_heads)
    per_group = graph.n_heads // graph.n_key_value_heads
    for layer in range(graph.n_layers):
        for letter in "qkv":
            heads = groups.repeat_interleave(per_group) if letter == "q" else groups
            nodes[graph.reader_slice(layer, letter)] = count + (heads[:, None] * graph.places + places).flatten()
        count += len(groups) * graph.places
        if graph.has_mlp:
            nodes[graph.reader_slice(layer, "m")] = count + places
            count += graph.places
    nodes[graph.reader_slice(graph.n_layers, "logits")] = count + places
    return nodes
