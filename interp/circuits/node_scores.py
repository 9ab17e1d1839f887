"""`score_nodes`: how much the metric depends on every head and every MLP."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from interp.circuits.circuit import Circuit
from interp.circuits.edge_scores import ranking
from interp.circuits.graph import Graph
from interp.circuits.scoring.head_importance import attributions, importances
from interp.circuits.task_checks import check_numbers, check_task
from interp.errors import InputError, unknown
from interp.models import identity
from interp.patching.packing import DEFAULT_BUDGET
from interp.patching.sweeps import sweep
from interp.results import Axis, Plot, Result, Values, mean_with_interval
from interp.runs import provenance
from interp.tasks import PromptPairs

METHODS = ("attribution", "atp-star", "hisp", "exact")
EFFECTS = ("attribution", "exact")
"""Methods whose scores estimate an effect in units of the metric, with its sign."""

_MEANINGS = {
    "attribution": "estimated m(clean) - m(node corrupted)",
    "atp-star": "estimated size of m(clean) - m(node corrupted), without sign",
    "hisp": "size of the attribution, over the norm of the layer's",
    "exact": "m(clean) - m(node corrupted)",
}


class NodeScores(Result):
    """A score for every head and MLP.

    values: "score" [node], the mean over prompts, with "low" and "high" (95 % bootstrap) and "per_example"
    [example, node] except for hisp, whose scores compare the nodes of a layer; "clean" and "corrupt" [example], the
    metric of both runs.
    """

    kind: ClassVar[str] = "node_scores"

    @property
    def graph(self) -> Graph:
        """The graph whose nodes were scored."""
        return Graph.from_description(self.settings["graph"])

    def top(self, n_nodes: int = 10, by: str = "abs") -> Circuit:  # type: ignore[override]
        """All edges among the n nodes with the largest |score| ("abs") or score ("signed"), embedding and logits.

        Raises InputError for more nodes than there are.
        """
        score = self.values["score"]
        if not 1 <= n_nodes <= len(score.data):
            raise InputError(
                f"n_nodes={n_nodes} of {len(score.data)} nodes; choose a number from 1 to {len(score.data)}"
            )
        best = ranking(score.data, by).argsort(descending=True, stable=True)[:n_nodes]
        described = {name: value for name, value in self.settings.items() if name != "graph"}
        settings = {"search": "top nodes", "n_nodes": n_nodes, "by": by, "scores": described}
        return Circuit.from_nodes(self.graph, [str(score.axes[0].labels[i]) for i in best], settings)

    def to_frame(self, name: str | None = None) -> pd.DataFrame:
        """One row a node: node, score, and the interval. With a name: that value, as `Result.to_frame` gives it."""
        if name is not None:
            return super().to_frame(name)
        columns: dict[str, Any] = {"node": self.values["score"].axes[0].labels}
        columns |= {key: self.values[key].data.numpy() for key in ("score", "low", "high") if key in self.values}
        return pd.DataFrame(columns)


def score_nodes(
    model: Any,
    task: PromptPairs,
    method: str = "atp-star",
    *,
    at: str = "clean",
    batch_size: int | None = None,
    memory_budget: int = DEFAULT_BUDGET,
) -> NodeScores:
    """Score every head (what it writes) and every MLP of a model for a task, all positions together.

    method:
        attribution  gradient times what corrupting the node changes (Nanda 2023); `interp.patching.node_attribution`
        atp-star     the same with GradDrop (Kramár et al. 2024, section 3.2): sizes without sign, so that opposite
                     paths cannot cancel. AtP*'s other correction, QK-fix, is for queries and keys; what a head writes
                     lies behind its softmax. See `node_attribution(nodes="q", qk_fix=True)` for those.
        hisp         size of the attribution over the norm of the layer's (Michel et al. 2019; Conmy et al. 2023)
        exact        the effect itself, a run a node; `interp.patching.sweep`
    at: "clean" corrupts nodes in the clean run, "corrupt" cleans them in the corrupt run. Raises InputError for what
    `node_attribution` and `sweep` refuse, one prompt, and a metric that is not a number.
    """
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    if at not in ("clean", "corrupt"):
        raise InputError(f"at is 'clean' (nodes become corrupt) or 'corrupt' (nodes become clean), not {at!r}")
    check_task(model, task, gradients=method != "exact")
    started = datetime.now(UTC)
    graph = Graph.of(model)
    arguments: dict[str, Any] = {"batch_size": batch_size, "memory_budget": memory_budget}
    if method == "exact":
        each, clean, corrupt = _exact(model, task, graph, at, **arguments)
    else:
        each, clean, corrupt = attributions(model, task, graph, at, grad_drop=method == "atp-star", **arguments)
    check_numbers(torch.stack([clean, corrupt]), f"{task.metric.name} of a run")
    settings = {
        "method": method,
        "at": at,
        "metric": task.metric.name,
        "effect": method in EFFECTS,
        "batch_size": batch_size,
        "memory_budget": memory_budget,
        "graph": graph.describe(),
    }
    return NodeScores(
        values=_values(task, graph, method, each, clean, corrupt),
        settings=settings,
        provenance=provenance(model=identity(model), task=task.describe(), seed=task.seed, started=started),
        plots=(_plot(task, method),),
    )


def _exact(
    model: Any, task: PromptPairs, graph: Graph, at: str, **arguments: Any
) -> tuple[Float[Tensor, "example writer"], Float[Tensor, " example"], Float[Tensor, " example"]]:
    """The effect of patching what each head and MLP writes (0 for the embedding), and the metric of both runs."""
    direction = "noise" if at == "clean" else "denoise"
    heads = sweep(model, task, "z", ("layer", "head"), direction, **arguments)
    found = torch.zeros(len(task), len(graph.writers))
    by_layer = found[:, 1:].unflatten(1, (graph.n_layers, -1))
    by_layer[:, :, : graph.n_heads] = heads.values["effect_per_example"].data.movedim(-1, 0)
    if graph.has_mlp:
        mlps = sweep(model, task, "mlp_out", "layer", direction, **arguments)
        by_layer[:, :, -1] = mlps.values["effect_per_example"].data.movedim(-1, 0)
    return found, heads.values["clean"].data, heads.values["corrupt"].data


def _values(
    task: PromptPairs, graph: Graph, method: str, each: Tensor, clean: Tensor, corrupt: Tensor
) -> dict[str, Values]:
    nodes, examples = Axis("node", graph.writers[1:]), Axis("example", tuple(range(len(task))))
    unit = task.metric.unit
    if method == "hisp":
        values = {"score": Values(importances(each, graph)[1:], (nodes,), "importance", _MEANINGS[method])}
    else:
        per_example = Values(each[:, 1:].contiguous(), (examples, nodes), unit, f"{_MEANINGS[method]}, per prompt")
        summary = mean_with_interval(per_example)
        values = {"score": summary["mean"], "low": summary["low"], "high": summary["high"], "per_example": per_example}
    values["clean"] = Values(clean, (examples,), unit, "m(clean), per prompt")
    values["corrupt"] = Values(corrupt, (examples,), unit, "m(corrupt), per prompt")
    return values


def _plot(task: PromptPairs, method: str) -> Plot:
    caption = f"{_MEANINGS[method].capitalize()}, for every head and MLP; {task.metric.name} ({task.metric.unit})."
    caveat = "One node at a time: nodes that stand in for each other go unseen."
    if method != "exact":
        caveat = "An estimate from gradients, one node at a time: saturated parts and backups go unseen."
    intervals = {} if method == "hisp" else {"low": "low", "high": "high"}
    return Plot("bars", "score", x="node", title="Node scores", caption=caption, caveat=caveat, **intervals)  # type: ignore[arg-type]
