"""What `interp circuit` prints: the circuit's size and faithfulness beside random ones, its curve, tests and edges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from interp.circuits import CircuitReport, EdgeScores, Graph
from interp.circuits.circuit_graphs import ARROW, CircuitEdges, nodes
from interp.circuits.edge_scores import EFFECTS
from interp.circuits.evaluation import what_it_cannot_say
from interp.circuits.evaluation.hypotheses import TWO_P_VALUES, VERDICTS
from interp.cli.answering import Answer
from interp.reproduce.published_ioi import heads_by_class, published_nodes

MOST_SHOWN = 10
"""Edges of a circuit without scores in the table."""
OVERRATED = 0.1
"""An edge is overrated when its effect is below this share of its score."""


def graph_line(graph: Graph) -> str:
    """What there is to find a circuit in."""
    shared = "" if graph.n_key_value_heads == graph.n_heads else f" sharing {graph.n_key_value_heads} keys and values"
    line = f"graph: {graph.n_edges} edges; {graph.n_layers} layers of {graph.n_heads} heads{shared}"
    if graph.positions is None:
        return line
    return f"{line}; over the positions {', '.join(graph.positions)}, and nothing is ablated at any other"


def behaviour(task: str) -> str:
    """What a task asks for, in words of a title."""
    return {"ioi": "IOI", "toy": "the toy's task"}.get(task, Path(task).stem if task.endswith(".jsonl") else task)


def tell(a: Answer, edges: CircuitEdges, report: CircuitReport, exact: EdgeScores) -> None:
    """Print the circuit and how it was judged."""
    settings: Any = report.settings
    beside = ", beside random circuits of its size" if "random" in report.values else ""
    a.show(faithfulness_table(edges, report), f"the circuit on fresh prompts{beside}")
    a.say(f"ablation: {report.ablation}")
    for sentence in what_it_cannot_say(report):
        a.say(f"note: {sentence}")
    sizes = sizes_table(report)
    if len(sizes):
        found_by = edges.settings["found"]["search"]
        how = "greedily picked circuits" if found_by == "greedy" else "circuits of the largest scores"
        n_random = settings["n_random_elsewhere"]
        a.show(sizes if n_random else sizes.iloc[:, :2], f"{how} by number of edges{_beside_each(report)}")
        a.show(areas_table(report), f"areas of that curve, over {_shares(report)} % of the edges")
    tests = report.tests()
    if len(tests):
        notes = ["note"] if tests["note"].any() else []
        title = "tests (n: prompt pairs, edges tested, or random circuits)"
        a.show(tests[["test", "p", "verdict", "n", *notes]], title, full=tests)
        a.say(VERDICTS)
        a.say(TWO_P_VALUES)
    sets: Any = settings["knocked_out"]
    greedy = [" ".join(nodes) for name, nodes in sets.items() if name.startswith("greedy")]
    if greedy:
        least = float((report.values["completeness"].data[0] - report.values["completeness"].data[1]).abs().max())
        told = f"completeness: without the same nodes circuit and model differ by up to {least:.2g} in faithfulness"
        a.say(f"{told} ({len(sets)} sets; greedy ones: {'; '.join(greedy)})")
    if settings["known"]:
        measured = report.values["known"]
        row = dict(zip(measured.axes[0].labels, measured.data.tolist()))
        a.show(pd.DataFrame([row]), f"beside {len(settings['known'])} known heads and MLPs")
        if settings["known"] == list(published_nodes()):
            a.show(heads_by_class(nodes(edges.circuit)), "the published heads of GPT-2 small in this circuit")
    table = strongest(edges, exact)
    a.show(table, _edges_title(edges, exact))
    a.say(f"exact: {exact_ablation(exact)}")
    differ = ablations_differ(edges, exact, report)
    if differ:
        a.say(differ)
    warning = overrated(table, edges.settings["method"])
    if warning:
        a.say(warning)


def faithfulness_table(edges: CircuitEdges, report: CircuitReport) -> pd.DataFrame:
    """Size and faithfulness with its interval, and what random circuits reach."""
    place = int(report.settings["headline"])
    faithful = (float(report.values[name].data[place]) for name in _FAITHFULNESS)
    circuit, parts = edges.circuit, nodes(edges.circuit)
    heads = sum(name.startswith("a") for name in parts)
    share = 100 * circuit.n_edges / circuit.graph.n_edges
    on_path = circuit.prune().n_edges
    where = f" (at positions: {', '.join(circuit.graph.positions)})" if circuit.graph.positions else ""
    rows = {
        "edges": f"{circuit.n_edges} ({share:.2g} %)",
        "on a path": f"{on_path} of them lead from the embedding to the logits",
        "nodes": f"{heads} heads, {len(parts) - heads} MLPs{where}",
        "faithfulness": f"{_with_interval(*faithful)} (95 % over {len(report.values['model'].data)} pairs)",
        "m(model)": _measured(report, "model"),
        "m(no edge)": _measured(report, "empty"),
        "KL from the model": _distance(report, place),
    }
    if "random" in report.values:
        drawn = report.values["random"].data.double()
        low, middle, high = (float(drawn.quantile(q)) for q in (0.05, 0.5, 0.95))
        rows["random circuits"] = f"{_with_interval(middle, low, high)} (5 to 95 % of {len(drawn)})"
        rows["p"] = f"{float(report.values['random_p'].data):.3g}"
    if "stability" in report.values:
        rows["stability"] = f"{float(report.values['stability'].data.mean()):.2f} (Jaccard index of resampled prompts)"
    return pd.DataFrame({"": rows.keys(), "value": rows.values()})


def _measured(report: CircuitReport, end: str) -> str:
    values = report.values[end]
    return f"{float(values.data.mean()):.3g} {values.unit}"


def _distance(report: CircuitReport, place: int) -> str:
    """The KL of the circuit over prompts, and of no edge."""
    kl = report.values["kl"].data[place].double()
    low, high = (float(kl.quantile(q)) for q in (0.05, 0.95))
    none = float(report.values["kl_empty"].data.mean())
    return f"{float(kl.mean()):.3g} nats (5 to 95 % of prompts: {low:.2g} to {high:.2g}; no edge: {none:.2g})"


def areas_table(report: CircuitReport) -> pd.DataFrame:
    """CMD, CPR and both over the logarithm of size, each with what to know about it."""
    areas, caveats = report.values["areas"], report.settings["caveats"]
    names = [str(label) for label in areas.axes[0].labels]
    return pd.DataFrame({
        "area": [name.replace("log_", "log ").replace("cmd", "CMD").replace("cpr", "CPR") for name in names],
        "value": areas.data.tolist(),
        "what to know": [caveats[name] for name in names],
    })  # fmt: skip


def _shares(report: CircuitReport) -> str:
    shares: Any = report.settings["shares"]
    return " to ".join(f"{100 * share:.3g}" for share in shares)


def _beside_each(report: CircuitReport) -> str:
    """How many random circuits stand beside each size, and the least p that so few can give."""
    few, many = int(report.settings["n_random_elsewhere"]), int(report.settings["n_random"])
    if not few:
        return ""
    beside = f", beside {few} random ones of each size (least p {1 / (1 + few):.2g})"
    return beside + (f" and {many} of the circuit's own (least {1 / (1 + many):.2g})" if many > few else "")


_FAITHFULNESS = ("faithfulness", "faithfulness_low", "faithfulness_high")


def sizes_table(report: CircuitReport) -> pd.DataFrame:
    """One row a size: faithfulness with its interval, the band of random circuits, and p."""
    if "curve" not in report.values:
        return pd.DataFrame()
    middle, low, high = (report.values[name] for name in ("curve", "curve_low", "curve_high"))
    p = report.values["curve_p"].data
    rows = []
    for i, size in enumerate(middle.axes[1].labels):
        ours, theirs = ([float(values.data[j, i]) for values in (middle, low, high)] for j in (0, 1))
        rows.append({
            "edges": size,
            "faithfulness [95 %]": _with_interval(*ours),
            "random [5 to 95 % of them]": _with_interval(*theirs),
            "p": _number(float(p[i])),
        })  # fmt: skip
    return pd.DataFrame(rows)


def _edges_title(edges: CircuitEdges, exact: EdgeScores) -> str:
    alone = f"what ablating each of them alone does ({exact.values['score'].unit})"
    if edges.settings["method"] is not None:
        return f"strongest edges, and {alone}"
    n, size = int((~exact.score.isnan()).sum()), edges.circuit.n_edges
    of = f"all {size} edges" if n == size else f"{n} of the {size} edges, drawn at random"
    return f"strongest edges (largest exact effects among {of}: the circuit came without scores), and {alone}"


def exact_ablation(exact: EdgeScores) -> str:
    """What exact effects depend on besides the edge: the whole model is run with this one edge ablated."""
    what = "m(model) - m(model with the edge ablated)"
    if exact.settings["at"] == "corrupt":
        what = "m(corrupt run with the edge clean) - m(corrupt run)"
    return f"{what}; {exact.settings['ablation']}"


def ablations_differ(edges: CircuitEdges, exact: EdgeScores, report: CircuitReport) -> str:
    """What to know when scores, exact effects and circuits are not of one ablation; empty when they are."""
    method, judged = edges.settings["method"], report.ablation.value
    put_on = str(exact.settings.get("value", "counterfactual"))
    others = [f"scores by {method}"] if method in EFFECTS else []
    others += ["exact effects"] if put_on == "counterfactual" else []
    if judged == "counterfactual" or not others:
        return ""
    return f"note: {' and '.join(others)} are counterfactual, while the circuit is judged under {judged} ablation"


def strongest(edges: CircuitEdges, exact: EdgeScores) -> pd.DataFrame:
    """The edges with the largest |score|, its deviation between prompts where it is known, and their exact effects.

    Of a circuit without scores: the edges with the largest effects among those that were measured.
    """
    if edges.settings["method"] is None:
        frame = exact.to_frame().sort_values("score", key=abs, ascending=False, kind="stable").head(MOST_SHOWN)
        names = [f"{writer}{ARROW}{reader}" for writer, reader in zip(frame["writer"], frame["reader"])]
        return pd.DataFrame({"edge": names, "exact": frame["score"].tolist()})
    columns: dict[str, Any] = {"edge": list(edges.values["score"].axes[0].labels)}
    columns |= {name: values.data.tolist() for name, values in edges.values.items()}
    frame = pd.DataFrame(columns).head(int((~exact.score.isnan()).sum()))
    places = [edges.circuit.graph.edge_index(edge) for edge in edges.pairs()[: len(frame)]]
    return frame.assign(exact=[float(exact.score[place]) for place in places])


def overrated(table: pd.DataFrame, method: Any) -> str:
    """A warning when most of the strongest edges do next to nothing by themselves; empty when they do not.

    table: as `strongest` gives it. method: the one that scored the edges, None where nothing did.
    """
    if method not in EFFECTS or method == "exact":
        return ""
    little = int((table["exact"].abs() < OVERRATED * table["score"].abs()).sum())
    if 2 * little <= len(table):
        return ""
    return (
        f"note: {little} of the {len(table)} strongest edges do by themselves less than {100 * OVERRATED:.0f} % of "
        f"what {method} scored them, often since gradients explode on single prompts (std above the score); more "
        "prompts (--n) or --steps even that out. Faithfulness is measured and does not rest on the scores' size."
    )


def _number(value: float) -> str:
    return "–" if value != value else f"{value:.2g}"


def _with_interval(middle: float, low: float, high: float) -> str:
    return "–" if middle != middle else f"{_short(middle)} [{_short(low)}, {_short(high)}]"


def _short(value: float) -> str:
    """Two decimals, and no minus before a zero."""
    return f"{round(value, 2) + 0.0:.2f}"
