"""`CircuitReport`: what `evaluate` found about circuits, every number with the ablation it was measured under."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pandas as pd

from interp.circuits.ablation import AblationTuple
from interp.circuits.evaluation.hypotheses import TWO_P_VALUES, verdict
from interp.results import Plot, Result, Values


class CircuitReport(Result):
    """Circuits judged on one task under one ablation (`ablation`), with their controls.

    values, for the circuits given:
    "faithfulness" [circuit], (m(C) - m(empty)) / (m(model) - m(empty)), with "faithfulness_low" and "_high" (95 %
        bootstrap over prompts); "n_edges" [circuit]; "metric", "kl" [circuit, example] and their quantiles over
        prompts, "metric_quantiles", "kl_quantiles" [circuit, quantile]; "model", "empty" [example]: the ends' metric.
    over sizes:
    "curve" [series, edges]: faithfulness of the circuits and the median of random ones, with "curve_low" and "_high"
        (95 % bootstrap; 5 and 95 % of the random circuits); "curve_p" [edges]: p-value against random circuits;
        "areas" [area]: cmd, cpr, and both over the logarithm of size.
    for the headline circuit:
    "random" [random]: faithfulness of random circuits; "test_p", "test_statistic", "test_supports" [test] (1 passed,
        0 failed, NaN undecided; `tests` says what that means); "edge_effect" [edge], "added_effect" [added]:
        minimality, and "effects_in_order" [which, share], both sorted; "completeness" [run, knocked_out], whose sets
        are in settings["knocked_out"]; "stability" [resample]; "known" [measure].
    """

    kind: ClassVar[str] = "circuit_report"

    @property
    def ablation(self) -> AblationTuple:
        """What all the numbers depend on besides the circuits."""
        return AblationTuple(**self.settings["ablation"])

    def tests(self) -> pd.DataFrame:
        """The hypothesis tests of the headline circuit, one a row, with its null hypothesis and what became of it.

        "verdict": "not rejected" says no more than that, for the ideal circuit is the null hypothesis of equivalence,
        independence and minimality; "rejected: for the circuit" is what sufficiency and partial necessity can say.
        """
        if "test_p" not in self.values:
            return pd.DataFrame()
        rows = []
        for i, name in enumerate(self.values["test_p"].axes[0].labels):
            said: Any = self.settings["tests"][name]
            supports = float(self.values["test_supports"].data[i])
            rows.append({
                "test": name,
                "null hypothesis": said["null"],
                "statistic": float(self.values["test_statistic"].data[i]),
                "p": float(self.values["test_p"].data[i]),
                "verdict": verdict(str(name), supports),
                "n": said["n"],
                "note": said["note"],
            })  # fmt: skip
        return pd.DataFrame(rows)

    def summary(self) -> pd.DataFrame:
        """The headline numbers: quantity, value, low, high, n, note, and the ablation they hold for."""
        rows: list[dict[str, Any]] = []
        place = int(self.settings["headline"])
        n = len(self.values["model"].data)
        found = self.values
        ends = {end: float(found[f"faithfulness_{end}"].data[place]) for end in ("low", "high")}
        rows.append({"quantity": "faithfulness", "value": float(found["faithfulness"].data[place]), **ends, "n": n})
        rows.append({"quantity": "KL from the model (nats)", "value": float(found["kl"].data[place].mean()), "n": n})
        for end, what in (("model", "m(model)"), ("empty", "m(no edge)")):
            rows.append({"quantity": f"{what} ({found[end].unit})", "value": float(found[end].data.mean()), "n": n})
        for i, name in enumerate(found["areas"].axes[0].labels) if "areas" in found else ():
            low, high = self.settings["shares"]
            note = f"{self.settings['caveats'][name]} Over {100 * low:.3g} to {100 * high:.3g} % of the edges."
            rows.append({"quantity": name, "value": float(found["areas"].data[i]), "note": note})
        if "random" in found:
            note = TWO_P_VALUES
            value = float(self.settings["random_p"])
            rows.append({"quantity": "p against random", "value": value, "n": len(found["random"].data), "note": note})
        if "stability" in found:
            value = float(found["stability"].data.mean())
            rows.append({"quantity": "stability", "value": value, "n": len(found["stability"].data),
                         "note": "mean Jaccard index of circuits found on resampled prompts"})  # fmt: skip
        if "completeness" in found:
            ours, model = found["completeness"].data
            note = "largest |F(C without K) - F(model without K)|, in units of faithfulness"
            rows.append({"quantity": "incompleteness", "value": float((ours - model).abs().max()), "n": len(ours),
                         "note": note})  # fmt: skip
        for measure, value in zip(found["known"].axes[0].labels, found["known"].data) if "known" in found else ():
            note = f"beside {len(self.settings['known'])} known edges or nodes"
            rows.append({"quantity": f"known: {measure}", "value": float(value), "note": note})
        frame = pd.DataFrame(rows, columns=["quantity", "value", "low", "high", "n", "note"])
        return frame.assign(ablation=str(self.ablation))


def report_plots(values: Mapping[str, Values], about: Mapping[str, Any]) -> tuple[Plot, ...]:
    """The figures of a report. about: its settings ("ablation_text", "n_random_elsewhere", "metric", ...)."""
    under = f"Ablation: {about['ablation_text']}."
    n_random = about["n_random_elsewhere"]
    beside = (
        f", beside {n_random} connected random circuits of each size with as many edges in every layer (band: 5 to "
        "95 % of them)"
    )
    if n_random and about["n_random"] > n_random:
        beside += f"; {about['n_random']} beside the headline circuit, {about['headline_name']}"
    beside = beside if n_random else ""
    plots = []
    if "curve" in values:
        plots.append(Plot(
            "lines", "curve", x="edges", series="series", low="curve_low", high="curve_high",
            title="Faithfulness over circuit size",
            caption=f"Faithfulness of circuits by number of edges (band: 95 % bootstrap over prompts){beside}. {under}",
            caveat="1 is no upper bound: circuits that leave out a model's negative parts exceed it.",
            options={"log_x": True, "references": {"whole model": 1.0, "no edge": 0.0}, "x_label": "edges",
                     "y_label": "faithfulness"},
        ))  # fmt: skip
    plots.append(Plot(
        "table", "metric_quantiles", x="quantile", y="circuit", title="Quantiles over prompts",
        caption=f"{about['metric']} of each circuit on single prompts. {under}",
        caveat="A mean can be faithful while no single prompt is.",
    ))  # fmt: skip
    plots.append(Plot(
        "table", "kl_quantiles", x="quantile", y="circuit", title="Quantiles over prompts: KL",
        caption=f"KL of each circuit's next-token distribution from the model's on single prompts, in nats. {under}",
        caveat="A circuit can keep the metric and predict something else.",
    ))  # fmt: skip
    if "effects_in_order" in values:
        plots.append(Plot(
            "lines", "effects_in_order", x="share", series="which", title="Minimality",
            caption="What cutting one edge does to the circuit, the edges in the order of their effects, beside the "
            f"same of edges of paths that were added at random. {under}",
            caveat="Where the lines touch, the circuit's edges do no more than random ones.",
            options={"x_label": "edges with a smaller effect (%)", "y_label": values["effects_in_order"].unit},
        ))  # fmt: skip
    if "completeness" in values:
        plots.append(Plot(
            "bars", "completeness", x="knocked_out", series="run", title="Completeness",
            caption="Faithfulness of circuit and model without sets of the circuit's nodes; where they differ, parts "
            f"of the model outside the circuit answer to the loss. {_sets(about)} {under}",
            options={"y_label": "faithfulness"},
        ))  # fmt: skip
    return tuple(plots)


def _sets(about: Mapping[str, Any]) -> str:
    """How the sets of completeness were chosen, with the members of the greedy ones."""
    drawn = about.get("knocked_out") or {}
    greedy = [" ".join(nodes) for name, nodes in drawn.items() if name.startswith("greedy")]
    told = f" Greedy sets: {'; '.join(greedy)}." if greedy else ""
    return f"Random sets have each node with probability one half; greedy ones add the node that parts them most.{told}"
