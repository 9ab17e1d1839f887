"""The IOI circuit as edges: which of all edges carry the behaviour, and whether random ones of their kind do as well.

Not part of Wang et al. 2022, who put their circuit together by hand out of heads. Here every edge of the model is
scored (EAP-IG, Hanna et al. 2024), the top ones are run with all others corrupted, on new prompts, and beside them
random circuits that are connected and have as many edges into every layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from interp import circuits, tasks
from interp.circuits import Circuit, CircuitReport, EdgeScores, Graph
from interp.circuits.circuit_graphs import CircuitEdges, circuit_edges, nodes
from interp.circuits.evaluation import curve_sizes, random_circuits
from interp.errors import InputError
from interp.hooks.head_names import Head, head_name
from interp.reproduce.experiment import Experiment
from interp.reproduce.ioi_settings import IoiSettings
from interp.reproduce.published_ioi import heads_by_class, published_nodes
from interp.results import Values
from interp.tasks import PromptPairs
from interp.viz.theme import interval, number


@dataclass(frozen=True)
class EdgeSettings:
    """What decides the numbers of this section.

    n: prompts that edges are scored on, and as many new ones for the circuits. steps: runs that gradients are averaged
    over. share: of the edges, for the circuit that random ones are drawn like. n_random: of these; n_random_elsewhere:
    at other sizes. every: takes every so many of the sizes of MIB's curve.
    """

    n: int = 8
    steps: int = 5
    share: float = 0.05
    n_random: int = 40
    n_random_elsewhere: int = 5
    every: int = 1

    @classmethod
    def quick(cls) -> EdgeSettings:
        """The same questions in a quarter of the time."""
        return cls(n=4, steps=3, n_random=19, n_random_elsewhere=2, every=2)

    @classmethod
    def of(cls, settings: IoiSettings) -> EdgeSettings:
        """Fitting the experiment's: the quick ones where it asks for fewer than 60 prompts."""
        return cls.quick() if settings.n < 60 else cls()


def edge_section(
    experiment: Experiment, task: PromptPairs, roles: Mapping[str, Iterable[Head]], settings: EdgeSettings
) -> None:
    """Scores, circuit and its faithfulness, into the report.

    task: tells the corruption, BOS, and the seed not to use again for judging. roles: heads by role, to compare with.
    A model whose edges cannot be told apart, or that the corruption does not hurt, gets a sentence that says so.
    """
    model, report = experiment.model, experiment.report
    seed, bos = task.seed or 0, task.prepend_bos
    try:
        graph = Graph.of(model)
        found = tasks.ioi(model, n=settings.n, seed=seed, prepend_bos=bos)
        fresh = tasks.ioi(model, n=settings.n, seed=seed + 1, prepend_bos=bos)
        scores = _scores(experiment, found, settings)
        edges = _circuit(experiment, found, graph, scores, settings)
        judged = _judged(experiment, fresh, edges.circuit, scores, settings)
    except InputError as error:
        report.section("IOI: the circuit as edges", f"Not measured here: {error}.")
        return
    report.section("IOI: the circuit as edges", _text(graph, fresh, edges, judged, settings)).add(edges)
    report.add(judged, plot=0)
    _heads(experiment, edges.circuit, roles)
    values = judged.values
    middle, low, high = (
        Values(values[f"faithfulness{end}"].data[0], (), "faithfulness") for end in ("", "_low", "_high")
    )
    experiment.number(f"faithfulness of {edges.circuit.n_edges} edges", middle, low, high, len(fresh))


def _scores(experiment: Experiment, task: PromptPairs, settings: EdgeSettings) -> EdgeScores:
    return experiment.step(
        "edge-scores",
        lambda: circuits.score_edges(experiment.model, task, "eap-ig", steps=settings.steps, keep_examples=True),
    )


def _circuit(
    experiment: Experiment, task: PromptPairs, graph: Graph, scores: EdgeScores, settings: EdgeSettings
) -> CircuitEdges:
    n_edges = max(1, round(settings.share * graph.n_edges))
    return experiment.step("edge-circuit", lambda: circuit_edges(experiment.model, task, scores.top(n_edges), scores))


def _judged(
    experiment: Experiment, fresh: PromptPairs, circuit: Circuit, scores: EdgeScores, settings: EdgeSettings
) -> CircuitReport:
    sizes = sorted({*curve_sizes(circuit.graph.n_edges)[:: settings.every], circuit.n_edges})
    known = published_nodes(experiment.model) or None

    def evaluate() -> CircuitReport:
        n_random = settings.n_random if _can_be_drawn(circuit, fresh.seed or 0) else 0
        return circuits.evaluate(
            experiment.model,
            fresh,
            circuit,
            scores=scores,
            sizes=sizes,
            known=known,
            tests=(),
            n_random=n_random,
            n_random_elsewhere=settings.n_random_elsewhere if n_random else 0,
            n_knocked_out=0,
            seed=fresh.seed or 0,
        )

    return experiment.step("edge-evaluation", evaluate)


def _can_be_drawn(circuit: Circuit, seed: int) -> bool:
    try:
        random_circuits(circuit, 1, seed)
    except InputError:
        return False
    return True


def _text(graph: Graph, fresh: PromptPairs, edges: CircuitEdges, judged: CircuitReport, settings: EdgeSettings) -> str:
    """What was done and what came out, in sentences."""
    values, circuit = judged.values, edges.circuit
    middle, low, high = (float(values[f"faithfulness{end}"].data[0]) for end in ("", "_low", "_high"))
    told = (
        f"All {graph.n_edges} edges between heads, MLPs, embedding and logits were scored by EAP-IG with "
        f"{settings.steps} steps on {settings.n} pairs. On {len(fresh)} new pairs the top {circuit.n_edges} "
        f"({100 * settings.share:g} %), all other edges carrying what they carry in the corrupt prompts, keep "
        f"{number(middle)} {interval(low, high)} of the logit difference between the model and no edge."
    )
    if "random" in values:
        drawn = values["random"].data.double()
        band = interval(float(drawn.quantile(0.05)), float(drawn.quantile(0.95)))
        told += (
            f" {len(drawn)} random circuits, connected and with as many edges into every layer, keep "
            f"{number(float(drawn.median()))} (5 to 95 % of them: {band}; p = {float(values['random_p'].data):.2g})."
        )
    return told + "\n\n" + _smallest(judged)


def _smallest(judged: CircuitReport) -> str:
    """The smallest circuit of the curve that does most of it."""
    curve = judged.values["curve"]
    sizes = torch.tensor(curve.axes[1].labels)
    enough = sizes[curve.data[0] >= MOST]
    if not len(enough):
        return f"No circuit of the curve keeps {100 * MOST:.0f} % of it."
    share = 100 * float(enough[0]) / int(sizes[-1])
    return (
        f"The smallest circuit of the curve that keeps {100 * MOST:.0f} % has {int(enough[0])} edges "
        f"({share:.2g} % of the largest)."
    )


MOST = 0.8
"""Of the difference between the model and no edge."""


def _heads(experiment: Experiment, circuit: Circuit, roles: Mapping[str, Iterable[Head]]) -> None:
    """Which heads with a role are in the circuit, and for GPT-2 small which of the published ones."""
    there, n_heads = nodes(circuit), circuit.graph.n_layers * circuit.graph.n_heads
    held = [name for name in there if name.startswith("a")]
    named = {role: [head_name(head) for head in heads] for role, heads in roles.items()}
    rows = [
        f"{role}: {', '.join(name for name in names if f'a{name}' in there) or 'none'} of {', '.join(names)}"
        for role, names in named.items()
        if names
    ]
    if rows:
        experiment.report.section(
            "IOI: heads with a role among the edges",
            f"The circuit touches {len(held)} of {n_heads} heads, so that a head picked at random is among them with "
            f"probability {len(held) / n_heads:.2g}.\n\n" + "\n\n".join(rows),
        )
    if published_nodes(experiment.model):
        experiment.report.add(
            heads_by_class(there), caption="The heads that Wang et al. 2022 published, and which the circuit touches."
        )
