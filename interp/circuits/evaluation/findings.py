"""What a report comes to: found, partly found or not found by a stated rule, and what its controls can say at most."""

from __future__ import annotations

import math

from interp.circuits.evaluation.circuit_report import CircuitReport
from interp.circuits.graph import Graph
from interp.results import FEWEST

FAITHFUL = (0.8, 1.2)
"""A circuit that is found keeps this much of the difference between the model and no edge."""
LEAST = 0.5
"""One that is partly found keeps at least this."""
LEVEL = 0.05
"""Of random circuits, no larger share may be as faithful."""
AS_MUCH = 0.02
"""Two sizes reach the same faithfulness when they are as far from 1, give or take this."""
RULE = (
    f"Rule: found is a circuit with a faithfulness from {FAITHFUL[0]:g} to {FAITHFUL[1]:g} and p of at most {LEVEL:g} "
    f"against random circuits; partly found is one with at least {LEAST:g}, an interval above 0 and the same p; "
    "anything else is not found. Random circuits that score as the circuit does on every prompt hold what works in it, "
    "and do not count against it; with fewer others than that p takes, it is undecided."
)


def verdict(report: CircuitReport) -> str:
    """ "found", "partly found", "not found" or "undecided" by `RULE`; "not compared" without random circuits."""
    faithful, low, _ = faithfulness(report)
    if "random" not in report.values:
        return "not compared"
    p, least = _p_beside_itself(report)
    if least > LEVEL and faithful >= LEAST:
        return "undecided"
    beaten = p <= LEVEL
    if beaten and FAITHFUL[0] <= faithful <= FAITHFUL[1]:
        return "found"
    return "partly found" if beaten and faithful >= LEAST and not low <= 0 else "not found"


def faithfulness(report: CircuitReport) -> tuple[float, float, float]:
    """Of the headline circuit, with its interval; NaN ends where prompts are too few for one."""
    place = int(report.settings["headline"])
    ends = ("faithfulness", "faithfulness_low", "faithfulness_high")
    middle, low, high = (float(report.values[name].data[place]) for name in ends)
    enough = len(report.values["model"].data) >= FEWEST
    return (middle, low, high) if enough else (middle, math.nan, math.nan)


def finding(report: CircuitReport, behaviour: str, model: str) -> str:
    """One or two sentences: what was found, how faithful it is, beside what, and how far from the model it remains."""
    place, n = int(report.settings["headline"]), len(report.values["model"].data)
    middle, low, high = faithfulness(report)
    interval = "" if math.isnan(low) else f" [{low:.2f}, {high:.2f}]"
    size, total = int(report.values["n_edges"].data[place]), _edges_of_the_graph(report)
    of = f" of {total} ({100 * size / total:.2g} %)" if total else ""
    found = {
        "found": f"Found: a circuit for {behaviour} in {model}.",
        "partly found": f"Partly found: a circuit that carries some of {behaviour} in {model}.",
        "not found": f"Not found: these edges are not shown to be a circuit for {behaviour} in {model}.",
        "undecided": f"Undecided, for too few random circuits: a circuit for {behaviour} in {model}.",
        "not compared": f"Not compared with random ones: a circuit for {behaviour} in {model}.",
    }[verdict(report)]
    kl = f"KL from the model {float(report.values['kl'].data[place].mean()):.2g} nats"
    kl += f" (no edge: {float(report.values['kl_empty'].data.mean()):.2g})" if "kl_empty" in report.values else ""
    return (
        f"{found} {size} edges{of} keep {middle:.2f}{interval} of the difference between model and no edge "
        f"(n = {n}); {_beside(report)}{kl}."
    )


def _beside(report: CircuitReport) -> str:
    if "random" not in report.values:
        return ""
    drawn = report.values["random"].data.double()
    p = float(report.values["random_p"].data)
    return f"{len(drawn)} random circuits of its size keep {float(drawn.quantile(0.5)):.2f} (median; p = {p:.2g}); "


def what_it_cannot_say(report: CircuitReport) -> list[str]:
    """Sentences on smaller circuits that do as well, and on random circuits that hold what works in it."""
    return [said for said in (_smaller(report), _containing(report)) if said]


def _smaller(report: CircuitReport) -> str:
    """The smallest size of the curve that is as near to the model as the circuit; empty without any."""
    if "curve" not in report.values:
        return ""
    curve, size = report.values["curve"], int(report.values["n_edges"].data[int(report.settings["headline"])])
    middle = faithfulness(report)[0]
    for other, reached in zip(curve.axes[1].labels, curve.data[0].tolist()):
        if int(other) < size and middle >= LEAST and abs(1 - reached) <= abs(1 - middle) + AS_MUCH:
            return (
                f"A smaller circuit does as well: {other} edges of the curve reach {reached:.2f}, these {middle:.2f}."
            )
    return ""


def _containing(report: CircuitReport) -> str:
    same, n = int(report.settings.get("random_same") or 0), int(report.settings["n_random"])
    if not same:
        return ""
    return (
        f"{same} of the {n} random circuits score as this one does on every prompt: they hold what works in it, since "
        f"there are few edges to draw from, and p cannot be below {(1 + same) / (1 + n):.2g}."
    )


def _p_beside_itself(report: CircuitReport) -> tuple[float, float]:
    """p among the random circuits that do not hold what works in the circuit, and the least p so many can give."""
    n, same = len(report.values["random"].data), int(report.settings.get("random_same") or 0)
    as_good = round(float(report.values["random_p"].data) * (1 + n)) - 1
    return (1 + as_good - same) / (1 + n - same), 1 / (1 + n - same)


def _edges_of_the_graph(report: CircuitReport) -> int:
    return Graph.from_description(report.settings["graph"]).n_edges
