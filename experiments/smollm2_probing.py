"""What SmolLM2's layers say about number, part of speech and truth, beside what nothing says about them.

    python experiments/smollm2_probing.py

Logistic probes of the residual stream after eight blocks: the number of a subject, at the subject and at a later noun;
parts of speech in English prose; truth of simple statements, also by the difference of means. Writes a run directory
with the results and a report; an interrupted run goes on where it stopped. About three minutes of processor time.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import interp
from interp.probing import DATASETS, ProbeResult
from interp.probing.telling import legend
from interp.runs import Run, open_run
from interp.viz import Report

LAYERS = (0, 3, 6, 10, 15, 20, 25, 29)
QUESTIONS = (
    ("number", "logistic", 600),
    ("pos", "logistic", 1000),
    ("truth", "logistic", 600),
    ("truth", "mean_difference", 600),
)
"""Task, kind of probe, examples."""


def main() -> None:
    """Fit every probe, or load what is there, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--layers", type=int, nargs="+", default=LAYERS)
    parser.add_argument("--out", default="runs")
    options = parser.parse_args()
    questions = [list(question) for question in QUESTIONS]
    settings: dict[str, Any] = {
        "model": options.model,
        "layers": list(options.layers),
        "questions": questions,
        "seed": 0,
    }
    model = interp.load_model(options.model)
    with open_run("smollm2_probing", settings, root=options.out) as run:
        for task, probe, n in QUESTIONS:
            name = f"{task}-{probe}"
            asked: dict[str, Any] = {"probe": probe, "layers": options.layers, "folds": 3, "n": n}
            run.step(name, lambda name=name, task=task, asked=asked: fitted(run, model, name, task, asked))  # type: ignore[misc]
        print(report(run))


def fitted(run: Run, model: Any, name: str, task: str, asked: dict[str, Any]) -> ProbeResult:
    """One probe, whose finished parts are kept beside the results."""
    return interp.probing.fit(model, task, keep=run.path(f"parts/{name}"), **asked)


def report(run: Run) -> Path:
    """What was found, then every probe with its tables and figures."""
    page = Report("What can be read from the layers of SmolLM2")
    for name, result in run.results().items():
        assert isinstance(result, ProbeResult)
        task, _, probe = name.partition("-")
        page.section(f"{task.capitalize()}, {probe.replace('_', ' ')} probe", f"To be told apart: {DATASETS[task][2]}.")
        for position in result.values["accuracy"].axis("position").labels:
            page.abstract(result.finding(position=str(position)))
            table = result.table(position=str(position))
            page.add(table, caption=f"By layer, at {position}; {legend(result)}")
        page.add(result)
    return page.write(run.path("report.html"))


if __name__ == "__main__":
    main()
