"""`score_edges`: how much the metric depends on every edge of a model's graph."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from interp.circuits.ablation import AblationTuple, ablation_tuple
from interp.circuits.circuit import Circuit
from interp.circuits.edge_plots import plot_of
from interp.circuits.graph import Graph
from interp.circuits.moments import Moments
from interp.circuits.scoring.batches import Edge, Scored, Settings
from interp.circuits.task_checks import check_numbers, check_task
from interp.errors import InputError, unknown
from interp.models import identity
from interp.patching.packing import DEFAULT_BUDGET
from interp.results import Axis, Result, Values
from interp.runs import progress, provenance
from interp.tasks import PromptPairs

METHODS = {
    "eap": "eap",
    "eap-ig": "eap_ig",
    "eap-ig-activations": "eap_ig_activations",
    "eap-qk-fix": "eap_query_key_fix",
    "exact": "exact",
    "ifr": "information_flow_routes",
    "edge-pruning": "edge_pruning",
    "ugs": "uniform_gradient_sampling",
    "hisp": "head_importance",
    "acdc": "acdc_thresholds",
}
"""Method -> its module in `interp.circuits.scoring`."""
SHARES = ("ifr",)
"""Methods whose scores compare the writers of one reader and say nothing across readers."""
WITH_STEPS = ("eap-ig", "eap-ig-activations")
EFFECTS = ("eap", "eap-ig", "eap-ig-activations", "eap-qk-fix", "exact")
"""Methods whose scores estimate an effect in units of the metric, m(clean) - m(edge corrupted)."""


class EdgeScores(Result):
    """A score for every edge: what the metric loses when the edge carries what its writer wrote on the corrupt prompt.

    values: "score" [writer, reader], the mean over prompts, NaN where there is no edge or none was asked for; "std",
    the standard deviation between prompts, and "n", their number; "clean" and "corrupt" [example], the metric of both
    runs; with keep_examples also "per_example" [example, writer, reader].
    """

    kind: ClassVar[str] = "edge_scores"

    @property
    def graph(self) -> Graph:
        """The graph that was scored."""
        return Graph.from_description(self.settings["graph"])

    @property
    def score(self) -> Float[Tensor, "writers readers"]:
        """The scores; NaN where there is none."""
        return self.values["score"].data

    def top(self, n_edges: int = 100, by: str = "abs") -> Circuit:  # type: ignore[override]
        """The circuit of the n edges with the largest |score| ("abs") or score ("signed"); equals keep their order.

        Such a circuit need not be connected; `Circuit.prune` drops what is not. Raises InputError for more edges than
        have a score.
        """
        key = ranking(self.score, by)
        check_size(n_edges, self.score)
        # Stable, so that ties are decided alike everywhere.
        best = key.flatten().argsort(descending=True, stable=True)[:n_edges]
        mask = torch.zeros(key.numel(), dtype=torch.bool)
        mask[best] = True
        found = {"search": "top", "n_edges": n_edges, "by": by}
        described = {name: value for name, value in self.settings.items() if name != "graph"}
        return Circuit(self.graph, mask.view_as(key), found | {"scores": described})

    def to_frame(self, name: str | None = None) -> pd.DataFrame:
        """One row a scored edge: writer, reader, score, std. With a name: that value, as `Result.to_frame` gives it."""
        if name is not None:
            return super().to_frame(name)
        score = self.score
        rows, columns = (~score.isnan()).nonzero(as_tuple=True)
        axes = self.values["score"].axes
        frame = {
            "writer": [axes[0].labels[row] for row in rows],
            "reader": [axes[1].labels[column] for column in columns],
            "score": score[rows, columns].numpy(),
        }
        if "std" in self.values:
            frame["std"] = self.values["std"].data[rows, columns].numpy()
        return pd.DataFrame(frame)


def score_edges(
    model: Any,
    task: PromptPairs,
    method: str = "eap-ig",
    *,
    at: str = "clean",
    steps: int = 5,
    edges: Iterable[Edge] | None = None,
    graph: Graph | None = None,
    keep_examples: bool = False,
    batch_size: int | None = None,
    memory_budget: int = DEFAULT_BUDGET,
    **options: Any,
) -> EdgeScores:
    """Score every edge of the graph of a model for a task.

    method:
        eap                 gradient of the run itself: two forward passes and one backward pass for all edges
        eap-ig              gradient averaged over `steps` runs from one prompt's embeddings to the other's
        eap-ig-activations  averaged over `steps` runs in which the edge's writers move, for each layer
        eap-qk-fix          as eap, with new queries and keys put through the softmax exactly
        exact               the effect itself, a run an edge; give `edges` for some of them, and value="zero" | "mean"
                            | "resample" for something else on them than what the corrupt prompt has there
        ifr                 how near a writer's output is to what the reader reads; one forward pass, no metric
        edge-pruning        learned masks, the probability that the edge's gate is open
        ugs                 learned masks, the probability that the edge is kept
        hisp                the smaller importance of the edge's two nodes
        acdc                the largest threshold of a grid at which ACDC keeps the edge
    The last five are no effects: their sizes mean what their files in `interp.circuits.scoring` say.
    at: the run that edges are changed in and gradients are taken at. "clean" scores m(clean) - m(edge corrupted), which
    matches evaluation by noising; "corrupt" scores m(edge clean) - m(corrupt), as TransformerLens's attribution does.
    graph: by default that of the model, all positions together; `Graph.of(model, task.roles)` tells roles apart.
    keep_examples: keep every prompt's scores. batch_size: prompts at a time (default: as memory_budget, in bytes,
    allows; what will be used is shown with the progress and kept in the settings). options: of a single method.

    Raises InputError, before anything runs, for a metric without gradients, prompts that are not pairs, a budget that
    is too small, and what a method cannot do.
    """
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    started = datetime.now(UTC)
    graph = Graph.of(model) if graph is None else graph
    graph.check_same(Graph.of(model, graph.positions))
    settings = Settings(at, steps, _edges(graph, edges, method), batch_size, memory_budget, options)
    module = importlib.import_module(f"interp.circuits.scoring.{METHODS[method]}")
    _check(model, task, method, settings, module, keep_examples)
    moments, own, other, kept = Moments(), [], [], []
    scored: Scored
    used: int | None = None
    planned = module.plan(model, task, graph, settings) if hasattr(module, "plan") else None
    told = f"scoring edges by {method}" + (f" ({planned})" if planned else "")
    with progress(len(task), told) as bar:
        for scored in module.scores(model, task, graph, settings):
            first = moments.n
            used = used or scored.batch_size or (len(scored.scores) if _by_prompt(module) else settings.batch_size)
            if scored.own is not None and scored.other is not None:
                check_numbers(torch.stack([scored.own, scored.other]), f"{task.metric.name} of a run", first=first)
                own.append(scored.own.detach().cpu())
                other.append(scored.other.detach().cpu())
            fix = "look for NaN among the model's weights, or leave that prompt out"
            check_numbers(scored.scores[:, graph.exists].T, f"the score of an edge by {method}", first=first, fix=fix)
            moments.add(scored.scores)
            if keep_examples:
                kept.append(scored.scores.float().cpu())
            bar.advance(len(scored.scores) if _by_prompt(module) else len(task))
    described = _describe(task, graph, method, settings, module)
    described["batch_size"] = used
    described["planned_bytes"] = None if planned is None else planned.bytes
    source = provenance(model=identity(model), task=task.describe(), seed=task.seed, started=started)
    values = _values(graph, task, moments, own, other, kept, settings, module)
    ablation = _ablation(graph, task, at, settings)
    if method in EFFECTS:
        described["ablation"] = str(ablation)
    plot = plot_of(
        task, method, at, values["score"], effects=method in EFFECTS, some=edges is not None, ablation=ablation
    )
    return EdgeScores(values=values, settings=described, provenance=source, plots=(plot,))


def _ablation(graph: Graph, task: PromptPairs, at: str, settings: Settings) -> AblationTuple:
    """What the scores depend on besides the edge."""
    return ablation_tuple(graph, task, _put_on(settings), "noise" if at == "clean" else "denoise", "edges")


def _put_on(settings: Settings) -> str:
    """What an edge carries instead of what the run has there."""
    return str(settings.options.get("value", "counterfactual"))


def _by_prompt(module: Any) -> bool:
    """Whether a method scores every prompt by itself, rather than all of them together."""
    return bool(getattr(module, "BY_PROMPT", True))


def _check(model: Any, task: PromptPairs, method: str, settings: Settings, module: Any, keep_examples: bool) -> None:
    if keep_examples and not _by_prompt(module):
        raise InputError(f"{method} gives one score for all prompts together; leave keep_examples out")
    check_task(model, task, gradients=getattr(module, "NEEDS_GRADIENTS", True))
    if settings.at not in ("clean", "corrupt"):
        raise InputError(f"at is 'clean' (edges become corrupt) or 'corrupt' (edges become clean), not {settings.at!r}")
    if settings.steps < 1:
        raise InputError(f"steps is how many runs the integral is taken over, at least 1, not {settings.steps}")
    known = getattr(module, "OPTIONS", ())
    for name in settings.options:
        if name not in known:
            raise unknown(f"option of {method}", name, known)


def _edges(graph: Graph, edges: Iterable[Edge] | None, method: str) -> tuple[Edge, ...] | None:
    if edges is None:
        return None
    if method != "exact":
        raise InputError(f"{method} scores all edges at once; leave edges out, or choose them from the result")
    chosen = tuple(dict.fromkeys((str(writer), str(reader)) for writer, reader in edges))
    if not chosen:
        raise InputError("no edges were given; name at least one, for example ('a0.1', 'a1.0.k'), or leave edges out")
    for edge in chosen:
        graph.edge_index(edge)
    return chosen


def check_size(n_edges: object, score: Float[Tensor, "writers readers"]) -> None:
    """Raise InputError unless n_edges is a whole number and so many edges have a score."""
    scored = int((~score.isnan()).sum())
    if isinstance(n_edges, bool) or not isinstance(n_edges, int | np.integer):
        raise InputError(f"n_edges is a whole number of edges, 1 to {scored}, not {n_edges!r}")
    if not 1 <= n_edges <= scored:
        raise InputError(f"n_edges={n_edges} of {scored} scored edges; choose a number from 1 to {scored}")


def ranking(score: Float[Tensor, "*edges"], by: str) -> Float[Tensor, "*edges"]:
    """What edges are ranked by: |score| ("abs") or the score itself ("signed"); -inf where there is none."""
    if by not in ("abs", "signed"):
        raise unknown("order", by, ("abs", "signed"))
    return (score.abs() if by == "abs" else score).nan_to_num(nan=float("-inf"))


def _describe(task: PromptPairs, graph: Graph, method: str, settings: Settings, module: Any) -> dict[str, Any]:
    described: dict[str, Any] = {
        "method": method,
        "at": settings.at,
        "metric": task.metric.name,
        "steps": settings.steps if method in WITH_STEPS else None,
        "edges": None if settings.edges is None else [list(edge) for edge in settings.edges],
        "effect": method in EFFECTS,
        "memory_budget": settings.memory_budget,
        "graph": graph.describe(),
    }
    return described | dict(getattr(module, "OPTIONS", {})) | dict(settings.options)


def _values(
    graph: Graph,
    task: PromptPairs,
    moments: Moments,
    own: list[Tensor],
    other: list[Tensor],
    kept: list[Tensor],
    settings: Settings,
    module: Any,
) -> dict[str, Values]:
    axes = (Axis("writer", graph.writers), Axis("reader", graph.readers))
    unit = getattr(module, "UNIT", task.metric.unit)
    put_on = _put_on(settings)
    change = "corrupted" if put_on == "counterfactual" else f"ablated: {put_on}"
    end = "m(corrupt)" if put_on == "counterfactual" else f"m(all edges ablated: {put_on})"
    meaning = getattr(module, "MEANING", f"m(clean) - m(edge {change}), mean over prompts")
    there = graph.exists if settings.edges is None else _mask(graph, settings.edges)

    def only_edges(data: Tensor) -> Tensor:
        return torch.where(there, data.float().cpu(), float("nan"))

    values = {"score": Values(only_edges(moments.mean), axes, unit, meaning)}
    if moments.n > 1:
        values["std"] = Values(only_edges(moments.std), axes, unit, "standard deviation between prompts")
    values["n"] = Values(torch.tensor(len(task)), (), "prompts")
    examples = Axis("example", tuple(range(len(task))))
    if kept:
        values["per_example"] = Values(only_edges(torch.cat(kept)), (examples, *axes), unit, "scores of each prompt")
    if own:
        clean, corrupt = (own, other) if settings.at == "clean" else (other, own)
        values["clean"] = Values(torch.cat(clean), (examples,), task.metric.unit, "m(clean), per prompt")
        values["corrupt"] = Values(torch.cat(corrupt), (examples,), task.metric.unit, f"{end}, per prompt")
    return values


def _mask(graph: Graph, edges: Sequence[Edge]) -> Tensor:
    mask = torch.zeros_like(graph.exists)
    for edge in edges:
        mask[graph.edge_index(edge)] = True
    return mask
