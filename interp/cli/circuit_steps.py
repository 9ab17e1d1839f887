"""The steps of `interp circuit`: scores of the edges, the circuit they or a search give, and how it is judged."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from interp import circuits
from interp.circuits import Circuit, CircuitReport, EdgeScores, Graph, memory_plan
from interp.circuits.circuit import Edge
from interp.circuits.circuit_graphs import CircuitEdges, circuit_edges
from interp.circuits.edge_scores import METHODS, SHARES, WITH_STEPS
from interp.circuits.evaluation import curve_sizes, random_circuits
from interp.circuits.evaluation.hypotheses import TESTS
from interp.cli.answering import Answer
from interp.errors import InputError, unknown
from interp.reproduce.published_ioi import published_nodes
from interp.tasks import PromptPairs

if TYPE_CHECKING:
    from interp.cli.circuit import Config

SCORED = ("top", "greedy", "stable")
"""Searches that pick by score; the others remove edges one by one."""
SHARE, FEWEST = 0.05, 20
"""How many edges a circuit has unless the user says: this share of them, and no fewer than so many."""
BY_GRADIENT = ("eap", "eap-ig", "eap-ig-activations", "eap-qk-fix")
MOST_KEPT = 64
"""Prompts of which single scores are kept, from which stability is measured."""
MOST_CHECKED, MOST_UNSCORED = 10, 50
"""Edges whose exact effect is measured beside their score, and edges of a circuit that came without scores."""
QUICK_STEPS = 3
QUICK_TESTS = ("equivalence", "sufficiency", "partial_necessity")
DEFAULT_SHARE = 0.01
"""Of m(clean) - m(corrupt): what removing an edge may cost unless the user says."""
MEGABYTE = 2**20


def graph_of(model: Any, task: PromptPairs, config: Config) -> Graph:
    """The model's graph, over the roles that --positions names or that a saved circuit has.

    Raises InputError for roles that the prompts do not have.
    """
    roles = config.positions
    if config.circuit and not roles:
        roles = Circuit.load(Path(config.circuit).expanduser()).graph.positions or ()
    for role in roles:
        if role not in task.roles:
            raise unknown("role", role, task.roles)
    return Graph.of(model, roles or None)


def check_names(graph: Graph, names: Sequence[str]) -> None:
    """Raise InputError for a name that is no head or MLP of the graph."""
    flat = graph.with_positions(None)
    for name in names:
        if name not in graph.writer_index and name not in flat.writer_index:
            raise unknown("node", name, flat.writers)


def _everywhere(graph: Graph, names: Sequence[str]) -> tuple[str, ...]:
    """Nodes without a role as the same nodes at every role, in a graph over token positions."""
    roles = graph.positions or ()
    there = ([name] if name in graph.writer_index else [f"{name}@{role}" for role in roles] for name in names)
    return tuple(name for several in there for name in several)


def memory_line(model: Any, task: PromptPairs, graph: Graph, config: Config) -> str:
    """What the run will take, said before it begins. Raises InputError when the budget is too small."""
    budget = f"no pass takes more than {config.memory_budget} MB beside the weights (--memory-budget)"
    if config.circuit or config.method not in BY_GRADIENT:
        return f"memory: {budget}"
    plan = memory_plan(
        model,
        task,
        graph,
        steps=_steps(config) if config.method in WITH_STEPS else 1,
        patterns=config.method == "eap-qk-fix",
        batch_size=config.batch_size,
        memory_budget=config.memory_budget * MEGABYTE,
    )
    return f"memory: scoring {plan}; {budget}"


def found(a: Answer, task: PromptPairs, graph: Graph, config: Config) -> tuple[EdgeScores, CircuitEdges]:
    """The edges' scores, and the circuit picked by them or by removing edges."""
    n_edges = _n_edges(graph, config)
    sized = {"batch_size": config.batch_size, "memory_budget": config.memory_budget * MEGABYTE, "graph": graph}
    keep = _scores_prompts(config.method) and (config.search == "stable" or len(task) <= MOST_KEPT)
    scores = a.step(
        "scores",
        lambda: circuits.score_edges(
            a.model, task, config.method, at=config.at, steps=_steps(config), keep_examples=keep, **sized
        ),
    )

    def search() -> CircuitEdges:
        options: dict[str, Any] = {"n_edges": n_edges, "scores": scores}
        options = options if config.search in SCORED else _removal(a, task, graph, scores, config)
        circuit = circuits.search(a.model, task, config.search, **options, **sized)
        if not circuit.n_edges:
            more = "more --n-edges" if config.search in SCORED else "a smaller --threshold"
            raise InputError(f"{config.search} kept no edge; give {more}")
        return circuit_edges(a.model, task, circuit, scores)

    return scores, a.step("circuit", search)


def saved(a: Answer, task: PromptPairs, graph: Graph, path: str) -> CircuitEdges:
    """A circuit of an earlier run. Raises InputError for another model's."""
    return a.step("circuit", lambda: circuit_edges(a.model, task, Circuit.load(Path(path).expanduser(), graph)))


def exactly(a: Answer, task: PromptPairs, edges: CircuitEdges, config: Config) -> EdgeScores:
    """The exact effect of the strongest edges, a run each: one prompt on which gradients explode can lift an edge.

    Under the ablation that the circuit is judged by, as far as --at allows: clean activations in the corrupt run are
    counterfactual. Of a circuit without scores, more edges are measured, since nothing says which are the strongest.
    """
    scored = edges.settings["method"] is not None
    chosen = edges.pairs()[:MOST_CHECKED] if scored else _some(edges.pairs(), config.seed)
    ablated = {"value": config.value, "seed": config.seed} if config.at == "clean" else {}
    return a.step(
        "exact",
        lambda: circuits.score_edges(
            a.model,
            task,
            "exact",
            at=config.at,
            edges=chosen,
            graph=edges.circuit.graph,
            batch_size=config.batch_size,
            memory_budget=config.memory_budget * MEGABYTE,
            **ablated,
        ),
    )


def _some(pairs: list[Edge], seed: int) -> list[Edge]:
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(seed))[:MOST_UNSCORED]
    return [pairs[i] for i in order.sort().values.tolist()]


def judged(a: Answer, fresh: PromptPairs, circuit: Circuit, scores: EdgeScores | None, config: Config) -> CircuitReport:
    """The circuit on prompts it was not found on, beside circuits of other sizes and random ones."""
    options: dict[str, Any] = {
        "n_random": (30 if config.quick else 100) if config.n_random is None else config.n_random,
        "n_random_elsewhere": 5 if config.quick else 20,
        "n_knocked_out": 0 if config.quick else 10,
        "tests": QUICK_TESTS if config.quick else TESTS,
    }
    if not _can_be_drawn(a, circuit, config):
        options |= {"n_random": 0, "n_random_elsewhere": 0, "tests": ()}
    several, options["scores"], options["sizes"] = _several(a.model, fresh, circuit, scores, config)
    known = config.known or (published_nodes(a.model) if config.task == "ioi" else ())
    known = _everywhere(circuit.graph, known)
    return circuits.evaluate(
        a.model,
        fresh,
        several,
        known=known or None,
        value=config.value,
        seed=config.seed,
        batch_size=config.batch_size,
        memory_budget=config.memory_budget * MEGABYTE,
        **options,
    )


def _can_be_drawn(a: Answer, circuit: Circuit, config: Config) -> bool:
    """Whether random circuits are wanted and there can be some; why not is said."""
    if config.n_random == 0:
        return False
    try:
        random_circuits(circuit, 1, config.seed)
    except InputError as none:
        a.say(f"note: no random circuits to compare with: {none}")
        return False
    return True


def _n_edges(graph: Graph, config: Config) -> int:
    if config.n_edges is None:
        return min(graph.n_edges, max(FEWEST, round(SHARE * graph.n_edges)))
    if not 1 <= config.n_edges <= graph.n_edges:
        raise InputError(f"--n-edges {config.n_edges}, and the graph has {graph.n_edges}; choose 1 to {graph.n_edges}")
    return config.n_edges


def _steps(config: Config) -> int:
    return min(config.steps, QUICK_STEPS) if config.quick else config.steps


def _scores_prompts(method: str) -> bool:
    """Whether a method scores every prompt by itself."""
    return bool(getattr(importlib.import_module(f"interp.circuits.scoring.{METHODS[method]}"), "BY_PROMPT", True))


def _removal(a: Answer, task: PromptPairs, graph: Graph, scores: EdgeScores, config: Config) -> dict[str, Any]:
    """What a search by removal is told; its decisions are kept in the run."""
    threshold = config.threshold
    if threshold is None:
        if "corrupt" not in scores.values:
            raise InputError(f"{config.method} does not measure the metric: --threshold has no default; give one")
        ends = (scores.values[name].data.mean() for name in ("clean", "corrupt"))
        threshold = DEFAULT_SHARE * abs(float(next(ends) - next(ends)))
    unit = "nats" if config.damage == "kl" else task.metric.unit
    a.say(
        f"{config.search}: {graph.n_edges} edges to decide, threshold {threshold:.3g} {unit}; after Ctrl-C the same "
        "command goes on where it was"
    )
    path = a.run.path(f"{config.search}.json")
    return {"threshold": threshold, "damage": config.damage, "value": config.value, "resume": path}


def _several(
    model: Any, task: PromptPairs, circuit: Circuit, scores: EdgeScores | None, config: Config
) -> tuple[dict[str, Circuit], EdgeScores | None, list[int] | None]:
    """Circuits to judge, the found one first, and the scores and sizes whose top circuits make the curve."""
    named = {"found": circuit}
    if scores is None or (config.method in SHARES and config.search != "greedy"):
        return named, None, None
    scored = int((~scores.score.isnan()).sum())
    sizes = sorted({*curve_sizes(scored)[:: 2 if config.quick else 1], circuit.n_edges})
    if config.search != "greedy":
        return named, scores, sizes
    for size in sizes:
        picked = circuits.search(model, task, "greedy", scores=scores, n_edges=size, graph=circuit.graph)
        if picked.n_edges not in (0, circuit.n_edges):
            named[f"{picked.n_edges} edges"] = picked
    return named, None, None
