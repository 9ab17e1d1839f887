"""Does SmolLM2 use the number of a subject that probes read at a later noun? Erased, turned around, exchanged.

    python experiments/smollm2_causal_probes.py

Prompts such as "The boys near the car", whose last noun says nothing of the subject's number; the behaviour is whether
singular or plural verbs follow. At some layers the state of that last token is erased (LEACE, INLP), moved along the
difference of class means, and exchanged between prompts in one dimension (distributed alignment search), each beside
random directions, and with side effects on English text. Writes a run directory with the results and a report; an
interrupted run goes on where it stopped. A few minutes of processor time.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import interp
from interp.probing.causal.findings import alignment_findings, erasure_findings, steering_findings
from interp.results import Result
from interp.runs import Run, open_run
from interp.viz import Report

ASKED: dict[str, tuple[str, Callable[..., Result], dict[str, Any]]] = {
    "erasing": ("Erasing the number", interp.probing.amnesic, {"layers": [6, 12, 18, 21, 24, 27]}),
    "steering": (
        "Moving towards the other number",
        interp.probing.steer_along,
        {"layers": [9, 18, 27], "strengths": [-1.0, 1.0, 2.0]},
    ),
    "alignment": ("Exchanging one dimension", interp.probing.align, {"layers": [18, 24, 27], "rank": 1}),
}
"""Name of each step: its title, its function, and its options."""
FINDINGS = {"erasing": erasure_findings, "steering": steering_findings, "alignment": alignment_findings}


def main() -> None:
    """Ask every question, or load what is there, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--task", default="number")
    parser.add_argument("--test", type=int, default=64)
    parser.add_argument("--out", default="runs")
    options = parser.parse_args()
    common = {"n": 900, "n_test": options.test, "seed": 0}
    settings = {"model": options.model, "task": options.task, **common, "asked": {k: v[2] for k, v in ASKED.items()}}
    model = interp.load_model(options.model)
    with open_run("smollm2_causal_probes", settings, root=options.out) as run:
        for name, (_, ask, own) in ASKED.items():
            asked = {**common, **own, "keep": run.path(f"parts/{name}")}
            run.step(name, lambda ask=ask, asked=asked: ask(model, options.task, **asked))  # type: ignore[misc]
        print(report(run))


def report(run: Run) -> Path:
    """Every test with its figures."""
    page = Report("Does SmolLM2 use the number that probes read?")
    for name, result in run.results().items():
        page.abstract("\n\n".join(FINDINGS[name](result)))
        page.section(ASKED[name][0], "\n\n".join(f"Note: {note}." for note in result.settings["notes"]))
        page.add(result)
    return page.write(run.path("report.html"))


if __name__ == "__main__":
    main()
