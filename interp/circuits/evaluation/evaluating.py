"""`evaluate`: judge circuits by how faithful they are, against controls, with tests that can say no."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interp.circuits.circuit import Circuit
from interp.circuits.edge_scores import EdgeScores
from interp.circuits.evaluation.circuit_report import CircuitReport, report_plots
from interp.circuits.evaluation.completeness import knock_out_sets
from interp.circuits.evaluation.equivalence import equivalence_test
from interp.circuits.evaluation.faithfulness import CAVEATS
from interp.circuits.evaluation.hypotheses import TESTS, Outcome
from interp.circuits.evaluation.independence import independence_test
from interp.circuits.evaluation.judging import TIE, Judge
from interp.circuits.evaluation.known_circuits import edge_auroc, node_auroc, overlap
from interp.circuits.evaluation.minimality import minimality_test
from interp.circuits.evaluation.over_sizes import Curve, curve_circuits, over_sizes
from interp.circuits.evaluation.partial_necessity import partial_necessity_test
from interp.circuits.evaluation.sampling import random_circuits
from interp.circuits.evaluation.stability import bootstrap_jaccard
from interp.circuits.evaluation.sufficiency import random_p_value, sufficiency_test
from interp.errors import InputError, unknown
from interp.models import identity
from interp.patching.packing import DEFAULT_BUDGET
from interp.results import Axis, Values
from interp.runs import provenance
from interp.tasks import PromptPairs

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def evaluate(
    model: Any,
    task: PromptPairs,
    circuits: Circuit | Sequence[Circuit] | Mapping[str, Circuit],
    *,
    headline: int | str = 0,
    scores: EdgeScores | None = None,
    sizes: Sequence[int] | None = None,
    known: Circuit | Sequence[str] | None = None,
    tests: Collection[str] = TESTS,
    n_random: int = 100,
    n_random_elsewhere: int = 20,
    n_knocked_out: int = 10,
    value: str = "counterfactual",
    direction: str = "noise",
    mean_over: str = "position",
    reference: PromptPairs | None = None,
    alpha: float = 0.05,
    seed: int = 0,
    batch_size: int | None = None,
    memory_budget: int = DEFAULT_BUDGET,
) -> CircuitReport:
    """Judge circuits of one graph on a task; see `CircuitReport` for what comes back.

    headline: the circuit (by place or name) that gets `n_random` random circuits, the tests, and knock-outs.
    scores: edges' scores; the curve over sizes is then of their top circuits (`sizes`; default: MIB's shares of the
    edges) instead of the circuits given, and with single prompts' scores stability is measured.
    known: a circuit, or names of its nodes, to compare with. tests: which of the five to run; empty for none.
    n_random_elsewhere: random circuits at the other sizes (0: none). n_knocked_out: random sets of nodes for
    completeness (0: none). value, direction, mean_over, reference: what ablated edges carry (see `MaskRunner`).
    alpha: level of the tests. seed: of everything drawn. batch_size, memory_budget: as for `MaskRunner`.

    Raises InputError, in one sentence, for tasks and circuits that cannot be judged: one pair, equal prompts, another
    tokenizer or model, metrics that are not numbers, sizes the graph does not have.
    """
    started = datetime.now(UTC)
    named = _named(circuits)
    place = _place(headline, named)
    wrong = [test for test in tests if test not in TESTS]
    if wrong:
        raise unknown("test", wrong[0], TESTS)
    graph = named[place][1].graph
    over = curve_circuits([circuit for _, circuit in named], scores, sizes)
    judge = Judge(
        model, task, graph, value=value, direction=direction, mean_over=mean_over, reference=reference, seed=seed,
        batch_size=batch_size, memory_budget=memory_budget,
    )  # fmt: skip
    chosen = named[place][1]
    values = _of_circuits(judge, named, seed)
    # The headline circuit has the same random circuits in the curve: no two numbers for one thing.
    beside = [n_random if n_random and circuit.equal(chosen) else n_random_elsewhere for circuit in over]
    curve = over_sizes(judge, over, beside, seed)
    values |= _curve_values(curve)
    said: dict[str, Any] = {}
    if n_random:
        more, said = _against_random(judge, chosen, n_random, seed)
        values |= more
    outcomes, more = _tests(judge, chosen, [test for test in TESTS if test in tests], n_random, alpha, seed)
    values |= more
    more, said["knocked_out"] = _completeness(judge, chosen, n_knocked_out, seed)
    values |= more
    values |= _comparisons(chosen, scores, known, seed)
    counts = {"n_random": n_random, "n_random_elsewhere": n_random_elsewhere, "n_knocked_out": n_knocked_out}
    settings = {**_settings(judge, named, place, outcomes, curve, known), "alpha": alpha, **counts, **said}
    source = provenance(model=identity(model), task=task.describe(), seed=seed, started=started)
    stated = {key: _stating(held, settings["ablation_text"]) for key, held in values.items()}
    return CircuitReport(values=stated, settings=settings, provenance=source, plots=report_plots(stated, settings))


def _settings(
    judge: Judge,
    named: Sequence[tuple[str, Circuit]],
    place: int,
    outcomes: Sequence[Outcome],
    curve: Curve | None,
    known: Circuit | Sequence[str] | None,
) -> dict[str, Any]:
    """What was judged, under which ablation, and what the numbers mean."""
    ablation, metric, n_edges = judge.runner.ablation(), judge.task.metric, judge.graph.n_edges
    return {
        "headline": place,
        "headline_name": named[place][0],
        "graph": judge.graph.describe(),
        "circuits": {name: {"n_edges": circuit.n_edges, "settings": dict(circuit.settings)} for name, circuit in named},
        "ablation": ablation.describe(),
        "ablation_text": str(ablation),
        "mean_over": judge.runner.mean_over,
        "metric": f"{metric.name} ({metric.unit})",
        "tests": {o.test: {"null": o.null, "meaning": o.meaning, "note": o.note, "n": o.n} for o in outcomes},
        "caveats": dict(CAVEATS),
        "shares": None if curve is None else [size / n_edges for size in (curve.sizes[0], curve.sizes[-1])],
        "known": list(known.edges()) if isinstance(known, Circuit) else (None if known is None else list(known)),
    }


def _named(circuits: Circuit | Sequence[Circuit] | Mapping[str, Circuit]) -> list[tuple[str, Circuit]]:
    if isinstance(circuits, Mapping):
        named = list(circuits.items())
    else:
        listed = [circuits] if isinstance(circuits, Circuit) else list(circuits)
        named = [(f"{i}: {circuit.n_edges} edges", circuit) for i, circuit in enumerate(listed)]
    if not named:
        raise InputError("there is no circuit to judge; give at least one")
    for _, circuit in named:
        named[0][1].graph.check_same(circuit.graph)
    return named


def _place(headline: int | str, named: Sequence[tuple[str, Circuit]]) -> int:
    names = [name for name, _ in named]
    if isinstance(headline, str):
        if headline not in names:
            raise unknown("circuit", headline, names)
        return names.index(headline)
    if not -len(names) <= headline < len(names):
        raise InputError(f"headline={headline} of {len(names)} circuits; choose 0 to {len(names) - 1}")
    return headline % len(names)


def _stating(values: Values, ablation: str) -> Values:
    """The values with their ablation in the description."""
    return Values(values.data, values.axes, values.unit, f"{values.description} [{ablation}]".strip())


def _of_circuits(judge: Judge, named: Sequence[tuple[str, Circuit]], seed: int) -> dict[str, Values]:
    """Metric, distance and faithfulness of the circuits given."""
    measured = judge.measure([circuit for _, circuit in named])
    low, high = judge.faithfulness_interval(measured.metric, seed=seed)
    circuits = Axis("circuit", tuple(name for name, _ in named))
    examples = Axis("example", tuple(range(len(judge.task))))
    quantiles = Axis("quantile", tuple(f"{100 * q:.0f} %" for q in QUANTILES))
    levels, unit = torch.tensor(QUANTILES), judge.task.metric.unit
    return {
        "faithfulness": Values(judge.faithfulness(measured.metric), (circuits,), "faithfulness", "1: as the model"),
        "faithfulness_low": Values(low, (circuits,), "faithfulness", "lower end of the 95 % bootstrap interval"),
        "faithfulness_high": Values(high, (circuits,), "faithfulness", "upper end of the 95 % bootstrap interval"),
        "n_edges": Values(torch.tensor([c.n_edges for _, c in named]), (circuits,), "edges", "size"),
        "metric": Values(measured.metric, (circuits, examples), unit, "m(C), per prompt"),
        "kl": Values(measured.kl, (circuits, examples), "nats", "KL of the circuit's distribution from the model's"),
        "metric_quantiles": Values(measured.metric.quantile(levels, dim=1).T, (circuits, quantiles), unit, "m(C)"),
        "kl_quantiles": Values(measured.kl.quantile(levels, dim=1).T, (circuits, quantiles), "nats", "KL"),
        "model": Values(judge.whole, (examples,), unit, "m(whole model), per prompt"),
        "empty": Values(judge.empty, (examples,), unit, "m(empty circuit), per prompt"),
        "kl_empty": Values(judge.kl_of_empty, (examples,), "nats", "KL of the empty circuit from the model"),
    }


def _curve_values(curve: Curve | None) -> dict[str, Values]:
    if curve is None:
        return {}
    axes = (Axis("series", ("circuit", "random circuits")), Axis("edges", curve.sizes))
    found = {
        name: Values(torch.stack([getattr(curve, name), getattr(curve, f"random_{name}")]), axes, "faithfulness", text)
        for name, text in (("middle", "faithfulness"), ("low", "lower end"), ("high", "upper end"))
    }
    areas = Values(torch.tensor(list(curve.areas.values())), (Axis("area", tuple(curve.areas)),), "", "see caveats")
    p = Values(curve.p_values, (axes[1],), "p-value", "against random circuits of this size; NaN where there are none")
    return {"curve": found["middle"], "curve_low": found["low"], "curve_high": found["high"], "curve_p": p,
            "areas": areas}  # fmt: skip


def _against_random(judge: Judge, circuit: Circuit, n: int, seed: int) -> tuple[dict[str, Values], dict[str, Any]]:
    """What random circuits reach, p, and how many of them score as the circuit does on every prompt."""
    drawn = random_circuits(circuit, n, seed)
    metric = judge.measure([circuit, *drawn], "running random circuits").metric
    far = judge.unfaithfulness(metric)
    p = random_p_value(float(far[0]), far[1:], TIE)
    axis = Axis("random", tuple(range(n)))
    text = f"connected random circuits with the layers of the headline circuit; p = {p:.4g}"
    alike = (metric[1:] - metric[0]).abs().amax(1) <= TIE * abs(judge.difference)
    values = {
        "random": Values(judge.faithfulness(metric[1:]), (axis,), "faithfulness", text),
        "random_unfaithfulness": Values(far[1:], (axis,), "mean |m(C) - m(model)| / |m(model) - m(empty)|", text),
        "random_p": Values(torch.tensor(p), (), "p-value", "of the headline circuit among random ones"),
    }
    return values, {"random_p": p, "random_same": int(alike.sum())}


def _tests(
    judge: Judge, circuit: Circuit, tests: Sequence[str], n_random: int, alpha: float, seed: int
) -> tuple[list[Outcome], dict[str, Values]]:
    """The hypothesis tests asked for, and the values they leave behind."""
    if not tests:
        return [], {}
    if n_random < 1:
        raise InputError("the tests compare with random circuits; give n_random of at least 1, or tests=()")
    values: dict[str, Values] = {}
    outcomes = []
    whole = Circuit.full(circuit.graph)
    tie = TIE * abs(judge.difference)
    # Edges on no path do nothing in the circuit, and random circuits have none; the model would miss them.
    connected = circuit.prune()
    own, complement = judge.measure([circuit, whole - connected]).metric
    drawn = random_circuits(circuit, n_random, seed) if {"sufficiency", "partial_necessity"} & set(tests) else []
    for test in tests:
        if test == "equivalence":
            outcomes.append(equivalence_test(own, judge.whole, tie, alpha=alpha))
        elif test == "independence":
            outcomes.append(independence_test(complement, judge.whole, tie, alpha, seed))
        elif test == "minimality":
            found = minimality_test(judge, circuit, alpha=alpha, seed=seed)
            outcomes.append(found.outcome)
            edges = Axis("edge", tuple(f"{writer} -> {reader}" for writer, reader in found.edges))
            unit = judge.task.metric.unit
            values["edge_effect"] = Values(found.effects, (edges,), unit, "mean |m(C) - m(C without the edge)|")
            values["edge_p"] = Values(found.p_values, (edges,), "p-value", "minimality of each edge, uncorrected")
            added = Axis("added", tuple(range(len(found.added))))
            values["added_effect"] = Values(found.added, (added,), unit, "the same for edges of paths added at random")
            values["effects_in_order"] = _in_order(found.effects, found.added, unit)
        elif test == "sufficiency":
            far = judge.unfaithfulness(judge.measure([circuit, *drawn]).metric)
            outcomes.append(sufficiency_test(float(far[0]), far[1:], tie=TIE, alpha=alpha))
        else:
            cut = [whole - part for part in (connected, *drawn)]
            far = judge.unfaithfulness(judge.measure(cut, "running the model without random circuits").metric)
            outcomes.append(partial_necessity_test(float(far[0]), far[1:], tie=TIE, alpha=alpha))
    axis = (Axis("test", tuple(outcome.test for outcome in outcomes)),)
    supports = [float("nan") if o.supports is None else float(o.supports) for o in outcomes]
    values["test_p"] = Values(_doubles(o.p_value for o in outcomes), axis, "p-value", "see settings['tests']")
    values["test_statistic"] = Values(_doubles(o.statistic for o in outcomes), axis, "", "see settings['tests']")
    meaning = "1: passed (an idealised test: not rejected), 0: failed, NaN: undecided"
    values["test_supports"] = Values(_doubles(supports), axis, "", meaning)
    return outcomes, values


def _in_order(effects: Tensor, added: Tensor, unit: str) -> Values:
    """Both kinds of effects sorted, on a common axis: the share of edges that have a smaller one."""
    shares = torch.linspace(0, 1, 21)
    data = torch.stack([effects.float().quantile(shares), added.float().quantile(shares)])
    labels = tuple(round(100 * float(share)) for share in shares)
    axes = (Axis("which", ("of the circuit", "added at random")), Axis("share", labels))
    return Values(data, axes, unit, "effects of single edges, sorted")


def _completeness(
    judge: Judge, circuit: Circuit, n_random: int, seed: int
) -> tuple[dict[str, Values], dict[str, list[str]]]:
    """Faithfulness without sets of nodes, and the members of each set."""
    if not n_random:
        return {}, {}
    found = knock_out_sets(judge, circuit, n_random, seed=seed)
    labels = tuple(
        f"greedy: {' '.join(nodes)}"
        if label.startswith("greedy")
        else f"{label} ({len(nodes)} node{'s' * (len(nodes) > 1)})"
        for label, nodes in zip(found.labels, found.nodes)
    )
    axes = (Axis("run", ("circuit", "model")), Axis("knocked_out", labels))
    data = torch.stack([found.circuit, found.model])
    values = {"completeness": Values(data, axes, "faithfulness", "faithfulness without sets of nodes")}
    return values, {label: list(nodes) for label, nodes in zip(labels, found.nodes)}


def _comparisons(
    circuit: Circuit, scores: EdgeScores | None, known: Circuit | Sequence[str] | None, seed: int
) -> dict[str, Values]:
    """Stability, and agreement with what is known."""
    values: dict[str, Values] = {}
    if scores is not None and "per_example" in scores.values:
        found = bootstrap_jaccard(scores, circuit.n_edges, seed=seed)
        axis = Axis("resample", tuple(range(len(found))))
        text = f"Jaccard index of the top {circuit.n_edges} edges on resampled prompts with those on all"
        values["stability"] = Values(found, (axis,), "Jaccard index", text)
    if known is not None:
        measures = overlap(circuit, known)
        if scores is not None:
            names = [name for name in known.nodes() if name[0] in "am"] if isinstance(known, Circuit) else list(known)
            measures |= {"edge_auroc": edge_auroc(scores, known)} if isinstance(known, Circuit) else {}
            measures |= {"node_auroc": node_auroc(scores, names)}
        data: Float[Tensor, " measure"] = torch.tensor(list(measures.values()))
        values["known"] = Values(data, (Axis("measure", tuple(measures)),), "", "agreement with the known circuit")
    return values


def _doubles(numbers: Any) -> Float[Tensor, " n"]:
    return torch.tensor(list(numbers), dtype=torch.float64)
