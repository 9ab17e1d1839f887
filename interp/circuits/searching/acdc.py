"""ACDC: go through the edges from the logits backwards and remove each that the task does not miss.

Conmy, Mavor-Parker, Lynch, Heimersheim and Garriga-Alonso 2023, "Towards Automated Circuit Discovery for Mechanistic
Interpretability", section 3, algorithm 1: readers in reverse order of computation, for each of them its writers, the
latest first (their order is a choice, and results depend on it, appendix J); an edge is removed for good when the
damage of the circuit without it is less than the threshold above that of the circuit with it.

Decisions are those of the algorithm as written, one edge a run; `nested_masks` tells how several share a pass.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from interp.circuits.circuit import Circuit
from interp.circuits.graph import Graph
from interp.circuits.searching.damage import Damage
from interp.circuits.searching.keeping import SearchFile, mask_code
from interp.circuits.searching.nested_masks import Trials
from interp.circuits.task_checks import check_task
from interp.errors import InputError, unknown
from interp.patching.packing import DEFAULT_BUDGET
from interp.tasks import PromptPairs

ORDERS = ("late", "early")


def find(
    model: Any,
    task: PromptPairs,
    graph: Graph,
    *,
    threshold: float = 0.02,
    damage: str = "absolute",
    value: str = "counterfactual",
    order: str = "late",
    within: Circuit | None = None,
    resume: str | Path | bool = True,
    batch_size: int | None = None,
    memory_budget: int = DEFAULT_BUDGET,
) -> Circuit:
    """The circuit that is left when no tried edge could go. A run an edge, in batches.

    threshold: how much damage removing one edge may add, in the unit of the damage (that of the metric; nats for "kl").
    damage: "absolute", "signed" or "kl", see `Damage`. value: what removed edges carry, see `MaskRunner`. order: the
    "late" or the "early" writers of a reader first. within: remove edges of this circuit only, the rest being gone.
    resume: see `SearchFile`.

    Edges whose writer no kept edge reaches carry what removed ones do when `value` is of another run (counterfactual,
    resample), and are dropped in the end; `settings["n_kept"]` counts them. Raises InputError for a threshold that is
    not positive, one prompt, a circuit of another model, and a metric that is not a number.
    """
    check_task(model, task, gradients=False)
    check_threshold(threshold)
    start = starting_circuit(graph, within)
    measure = Damage(model, task, graph, damage, value=value, batch_size=batch_size, memory_budget=memory_budget)
    settings = search_settings("acdc", task, measure, threshold, value) | {"order": order}
    file = SearchFile(resume, settings | {"graph": graph.describe(), "start": mask_code(start.mask)})
    state = file.run("edges", edge_by_edge(start, order), start.mask, measure, threshold, "ACDC, edges tried")
    file.forget()
    spent = {"n_circuits": state.n_circuits, "n_batches": state.n_batches, "damage_of_circuit": state.damage}
    found = connected(Circuit(graph, state.mask), value)
    return Circuit(graph, found.mask, settings | spent | {"n_kept": int(state.mask.sum()), "exact": True})


def connected(circuit: Circuit, value: str) -> Circuit:
    """The circuit without edges that carry the same whether they are removed or not.

    Not under zero or mean ablation, where a writer that reads nothing of the prompt still writes something else than
    its stand-in, nor over token positions, since heads also run at the tokens between the named ones.
    """
    if value not in ("counterfactual", "resample") or circuit.graph.positions is not None:
        return circuit
    return circuit.prune()


def edge_by_edge(circuit: Circuit, order: str = "late") -> Trials:
    """The edges of a circuit, each alone, in the order in which ACDC tries them."""
    if order not in ORDERS:
        raise unknown("order of writers", order, ORDERS)
    rows, columns = rows_and_columns(circuit.graph)
    within = rows if order == "late" else len(circuit.graph.writers) - 1 - rows
    return Trials.of(circuit.mask, columns, within)


def rows_and_columns(graph: Graph) -> tuple[Int[Tensor, "writers readers"], Int[Tensor, "writers readers"]]:
    """The row and the column of every pair."""
    shape = tuple(graph.exists.shape)
    rows, columns = torch.arange(shape[0]), torch.arange(shape[1])
    return rows[:, None].expand(shape), columns.expand(shape)


def check_threshold(threshold: float) -> None:
    """Raise InputError unless it is a positive number."""
    if not threshold > 0 or threshold == float("inf"):
        raise InputError(
            f"threshold is how much damage removing an edge may add, a number above 0, not {threshold}; "
            "about 1 % of m(clean) - m(corrupt) is a start"
        )


def starting_circuit(graph: Graph, within: Circuit | None) -> Circuit:
    """The circuit that is searched: all edges, or the given one."""
    if within is None:
        return Circuit.full(graph)
    graph.check_same(within.graph)
    if not within.n_edges:
        raise InputError("the circuit to search within has no edge; leave `within` out to search the whole graph")
    return within


def search_settings(name: str, task: PromptPairs, measure: Damage, threshold: float, value: str) -> dict[str, Any]:
    """What a search by removal depends on, as plain JSON."""
    return {
        "search": name,
        "threshold": threshold,
        "damage": measure.kind,
        "unit": measure.unit,
        "metric": measure.metric.name,
        "value": value,
        "ablation": measure.runner.ablation().describe(),
        "task": task.describe(),
    }
