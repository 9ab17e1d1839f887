"""A circuit as a result: its edges with their scores, drawn as a graph in reports and notebooks, and kept in runs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

import torch

from interp.circuits.ablation import data_name
from interp.circuits.circuit import Circuit, Edge
from interp.circuits.edge_scores import EFFECTS, EdgeScores
from interp.circuits.graph import Graph
from interp.errors import InputError
from interp.models import identity
from interp.results import Axis, Plot, Result, Values
from interp.runs import provenance
from interp.tasks import PromptPairs

ARROW = " -> "
MOST_DRAWN = 150
"""Edges in the figure; more of them hide each other."""


class CircuitEdges(Result):
    """The edges of a circuit, the largest |score| first.

    values: "score" [edge], and "std" [edge], its standard deviation between prompts; of a circuit that came without
    scores (settings["method"] is None) 1 for every edge, which is no score and is not shown as one. Edges are named
    "a3.7 -> m5". `circuit` is the circuit itself.
    """

    kind: ClassVar[str] = "circuit_edges"

    def pairs(self) -> list[Edge]:
        """(writer, reader) of every edge, the largest |score| first."""
        split = (str(label).split(ARROW) for label in self.values["score"].axes[0].labels)
        return [(writer, reader) for writer, reader in split]

    @property
    def circuit(self) -> Circuit:
        """The circuit that these edges are."""
        described: Any = self.settings
        graph = Graph.from_description(described["graph"])
        return Circuit.from_edges(graph, self.pairs(), described["found"])


def circuit_edges(model: Any, task: PromptPairs, circuit: Circuit, scores: EdgeScores | None = None) -> CircuitEdges:
    """The circuit as a result, with its edges' scores where there are some.

    Raises InputError for a circuit without edges, and for circuits or scores of another model.
    """
    started = datetime.now(UTC)
    graph = circuit.graph
    Graph.of(model, graph.positions).check_same(graph)
    if not circuit.n_edges:
        raise InputError("the circuit has no edge, so there is nothing to keep or to draw")
    edges, values, unit = circuit.edges(), {"score": torch.ones(circuit.n_edges)}, ""
    if scores is not None:
        graph.check_same(scores.graph)
        rows, columns = torch.tensor([graph.edge_index(edge) for edge in edges]).T
        values = {name: scores.values[name].data[rows, columns].float() for name in ("score", "std")}
        unit = scores.values["score"].unit
    order = values["score"].nan_to_num().abs().argsort(descending=True, stable=True)
    axis = Axis("edge", tuple(ARROW.join(edges[i]) for i in order.tolist()))
    meaning = "of each edge" if scores is None else scores.values["score"].description
    named = {name: Values(data[order], (axis,), unit, meaning) for name, data in values.items()}
    method = None if scores is None else str(scores.settings["method"])
    return CircuitEdges(
        values=named,
        settings={
            "graph": graph.describe(),
            "found": dict(circuit.settings),
            "method": method,
            "nodes": nodes(circuit),
        },
        provenance=provenance(model=identity(model), task=task.describe(), seed=task.seed, started=started),
        plots=(_plot(circuit, method, unit, task),),
    )


def nodes(circuit: Circuit) -> list[str]:
    """Heads and MLPs of a circuit, without embedding and logits."""
    return [name for name in circuit.nodes() if not name.startswith(("embed", "logits"))]


def _plot(circuit: Circuit, method: str | None, unit: str, task: PromptPairs) -> Plot:
    graph = circuit.graph
    width = "the circuit came without scores, so all lines are alike"
    if method is not None:
        width = f"width: size of the score by {method}, mean over {data_name(task)}"
    caption = (
        f"The circuit's {circuit.n_edges} of {graph.n_edges} edges among {len(nodes(circuit))} heads and MLPs, layer "
        f"by layer from the embedding (below) to the logits; {width}. Point at an edge or a node for its numbers."
    )
    if graph.n_key_value_heads != graph.n_heads:
        caption += " Keys and values that heads share (kv) are nodes; dotted lines lead to the heads that use them."
    caveat = "" if circuit.n_edges <= MOST_DRAWN else f"Only the {MOST_DRAWN} edges with the largest |score| are drawn."
    if method is None and caveat:
        caveat = f"Only {MOST_DRAWN} of the edges are drawn."
    if method is not None and method not in EFFECTS:
        caveat = f"Scores by {method} are no effects: widths say little across readers. {caveat}".strip()
    options = {
        "max_edges": MOST_DRAWN,
        "colour_label": f"score ({unit})" if unit else "score",
        "heads_per_group": graph.n_heads // graph.n_key_value_heads,
        "unscored": method is None,
    }
    return Plot("graph", "score", x="edge", title="The circuit", caption=caption, caveat=caveat, options=options)
