"""The IOI circuit as edges: which of all edges carry the behaviour, and whether random ones of their kind do as well.

Not part of Wang et al. 2022, who put their circuit together by hand out of heads. Here every edge of the model is
scored (EAP-IG, Hanna et al. 2024), the top ones are run with all others corrupted, on new prompts, and beside them
random circuits that are connected and have as many edges into every layer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import pandas as pd
import torch

from interp import circuits, tasks
from interp.circuits import Circuit, CircuitReport, EdgeScores, Graph
from interp.circuits.circuit_graphs import CircuitEdges, circuit_edges, nodes
from interp.circuits.evaluation import curve_sizes, random_circuits
from interp.errors import InputError
from interp.hooks.head_names import Head, head_name
from interp.reproduce.asking import several
from interp.reproduce.experiment import Experiment
from interp.reproduce.ioi_evidence import in_words
from interp.reproduce.ioi_settings import IoiSettings
from interp.reproduce.ioi_words import show
from interp.reproduce.published_ioi import heads_by_class, published_nodes
from interp.results import FEWEST, Values
from interp.tasks import PromptPairs


@dataclass(frozen=True)
class EdgeSettings:
    """What decides the numbers of this section.

    n: prompts that edges are scored on, and as many new ones for the circuits. steps: runs that gradients are averaged
    over. share: of the edges, for the circuit that random ones are drawn like. n_random: of these; n_random_elsewhere:
    at other sizes. every: takes every so many of the sizes of MIB's curve,
    and the whole.
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
        return cls(n=5, steps=3, n_random=19, n_random_elsewhere=2, every=3)

    @classmethod
    def of(cls, settings: IoiSettings) -> EdgeSettings:
        """Fitting the experiment's: the quick ones where it asks for fewer than 60 prompts."""
        return cls.quick() if settings.n < 60 else cls()


def edge_section(
    experiment: Experiment, task: PromptPairs, roles: Mapping[str, Iterable[Head]], settings: EdgeSettings
) -> CircuitReport | None:
    """Scores, circuit and its faithfulness, into the report.

    task: tells the corruption, BOS, and the seed not to use again for judging. roles: heads by role, to compare with.
    A model whose edges cannot be told apart, or that the corruption does not hurt, gets a sentence that says so, and
    None comes back.
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
        experiment.skip(f"IOI, the circuit as edges: {error}.")
        return None
    n = len(fresh)
    report.section(
        "IOI: the circuit as edges",
        f"{edge_words(judged)}{random_words(judged)} {smallest_words(judged)}\n\nAll {graph.n_edges} edges between "
        f"heads, MLPs, embedding and logits were scored by EAP-IG with {settings.steps} steps on {settings.n} pairs. "
        f"The top {edges.circuit.n_edges} ({100 * settings.share:g} %) are the circuit; all other edges carry what "
        f"they carry in the corrupt prompts. It was judged on {n} new pairs, as were circuits of other sizes. This is "
        "not part of the paper.",
    )
    plot = edges.plots[0]
    plot = replace(plot, options={**plot.options, "max_edges": DRAWN})
    alone = f"Edges are scored one by one, on {settings.n} pairs; the circuit's other edges are not drawn."
    report.add(edges, plot=plot, caption=_drawn(edges), caveat=alone)
    bands = f"(band: 95 % interval over {n} prompts)" if n >= FEWEST else f"({n} prompts, too few for a band)"
    words = (
        f"{smallest_words(judged)} Blue: the edges with the largest scores {bands}; orange: "
        f"random circuits ({settings.n_random_elsewhere} a size, {settings.n_random} at the circuit's; band: 5 to 95 % "
        "of them); 1: the model, 0: no edge."
    )
    show(report, judged, [words], n, plots=[0])
    _heads(experiment, scores, roles)
    middle, low, high = (Values(torch.tensor(end), (), "") for end in _with_ends(judged, "faithfulness", 0))
    experiment.number(f"faithfulness of {edges.circuit.n_edges} edges", middle, low, high, n, "share")
    return judged


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


def _drawn(edges: CircuitEdges) -> str:
    """Which edges have the largest scores for and against the answer."""
    score = edges.values["score"]
    labels = [str(label) for label in score.axis("edge").labels]
    ends = [(labels[int(index)], float(score.data[index])) for index in (score.data.argmax(), score.data.argmin())]
    (high, low) = (f"{label} ({size:+.2f})".replace("->", "to").replace("-", "\N{MINUS SIGN}") for label, size in ends)
    lowest = f" and {low} lowest" if ends[1][1] < 0 else ""
    return (
        f"Of the circuit's {len(labels)} edges {high} is scored highest{lowest}; drawn are the "
        f"{min(len(labels), DRAWN)} with the largest scores, layer by layer from the embedding below to the logits. "
        "Width: size of the score. a: heads, m: MLPs, kv: keys and values that heads share. Point at an edge for its "
        "number."
    )


def _judged(
    experiment: Experiment, fresh: PromptPairs, circuit: Circuit, scores: EdgeScores, settings: EdgeSettings
) -> CircuitReport:
    total = circuit.graph.n_edges
    sizes = sorted({*curve_sizes(total)[:: settings.every], circuit.n_edges, total})
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


def edge_words(judged: CircuitReport) -> str:
    """What the circuit of the chosen share of edges keeps."""
    values = judged.values
    n_edges, n = int(values["n_edges"].data[0]), len(values["model"].data)
    middle, low, high = _with_ends(judged, "faithfulness", 0)
    total = int(values["curve"].axes[1].labels[-1])
    clear = "" if low > 0 else ", an interval that includes 0" if low <= 0 <= high else ""
    return (
        f"Of {total} edges the top {n_edges} keep {in_words(middle, low, high, False)} of the difference between the "
        f"model and no edge (n = {n}{clear})."
    )


def _with_ends(judged: CircuitReport, name: str, at: int | tuple[int, int]) -> tuple[float, float, float]:
    """A number with its interval over prompts; NaN ends where there are too few."""
    middle, low, high = (float(judged.values[f"{name}{end}"].data[at]) for end in ("", "_low", "_high"))
    enough = len(judged.values["model"].data) >= FEWEST
    return (middle, low, high) if enough else (middle, math.nan, math.nan)


def random_words(judged: CircuitReport) -> str:
    """What random circuits of the same size keep; empty without any."""
    values = judged.values
    if "random" not in values:
        return " Random circuits of this kind could not be drawn."
    drawn, middle = values["random"].data.double(), float(values["faithfulness"].data[0])
    ends = [float(drawn.quantile(share)) for share in (0.05, 0.95)]
    return (
        f" {len(drawn)} random circuits, connected and with as many edges into every layer, keep "
        f"{in_words(float(drawn.quantile(0.5)), ends[0], ends[1], False)} (median and the range of 90 % of them; "
        f"{int((drawn >= middle).sum())} of {len(drawn)} do as well, p = {float(values['random_p'].data):.2g})."
    )


def smallest_words(judged: CircuitReport) -> str:
    """The smallest circuit of the curve that keeps most of it, and the size from which on all do."""
    curve = judged.values["curve"]
    sizes = [int(size) for size in curve.axes[1].labels]
    enough, most = (curve.data[0] >= MOST).nonzero(), f"{100 * MOST:.0f} %"
    first = int(enough[0]) if len(enough) else len(sizes) - 1
    if first >= len(sizes) - 1:
        return f"No circuit of the curve but the whole model keeps {most}."
    middle, least, top = _with_ends(judged, "curve", (0, first))
    told = (
        f"The smallest circuit of the curve that keeps {most} has {sizes[first]} edges "
        f"({100 * sizes[first] / sizes[-1]:.2g}"
        f" %) and keeps {in_words(middle, least, top, False)}"
    )
    short = (curve.data[0] < MOST).nonzero()
    always = int(short[-1]) + 1 if len(short) else 0
    return f"{told}." if always == first else f"{told}; from {sizes[always]} edges on all do."


MOST = 0.8
"""Of the difference between the model and no edge."""
DRAWN = 60
"""Edges in the picture: of more, none can be followed by eye."""


FEW_EDGES = 0.005
"""Of the edges, for asking which heads they touch: the circuit's own edges touch nearly every head of a model."""


def _heads(experiment: Experiment, scores: EdgeScores, roles: Mapping[str, Iterable[Head]]) -> None:
    """Which heads with a role the strongest edges touch, and for GPT-2 small which of the published ones."""
    graph, report = scores.graph, experiment.report
    strongest = scores.top(max(1, round(FEW_EDGES * graph.n_edges)))
    there = nodes(strongest)
    held = {name[1:] for name in there if name.startswith("a") and ".kv" not in name}
    named = {role: [head_name(head) for head in heads] for role, heads in roles.items()}
    every = {name for names in named.values() for name in names}
    if every:
        n_others = graph.n_layers * graph.n_heads - len(every)
        rows = [
            {"role": role, "touched": ", ".join(name for name in names if name in held) or "none",
             "not touched": ", ".join(name for name in names if name not in held) or "none"}
            for role, names in named.items() if names
        ]  # fmt: skip
        told = (
            f"The {strongest.n_edges} strongest edges ({100 * FEW_EDGES:g} %) touch {len(every & held)} of the "
            f"{several(len(every), 'head')} with a role and {len(held - every)} of the {n_others} others"
        )
        agree = _verdict(every, held, n_others)
        report.section("IOI: heads with a role among the edges", f"{told}: {agree}").add(
            pd.DataFrame(rows), caption=f"{told}, by role.",
            caveat="Edges were scored on few prompts, and a head may matter by many weak edges.",
        )  # fmt: skip
    if published_nodes(experiment.model):
        table = heads_by_class(there)
        n_there, total = sum(len(row.split(", ")) for row in table["in the circuit"] if row != "none"), 26
        report.add(table, caption=f"The {strongest.n_edges} strongest edges touch {n_there} of the {total} heads that "
                   "Wang et al. 2022 published.")  # fmt: skip


def _verdict(every: set[str], held: set[str], n_others: int) -> str:
    """Whether the two ways of finding heads agree."""
    share, others = len(every & held) / len(every), len(held - every) / max(1, n_others)
    both = f"{100 * share:.0f} % against {100 * others:.0f} %"
    if share > others:
        return f"{both}, so that heads found by paths are touched more often than others by edges found from gradients."
    return f"{both}, so that the strongest edges do not point to the heads that path patching found."
