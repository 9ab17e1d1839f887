"""Draw results that are kept: the HTML report of a run again, after an interruption or for a single step, or a page of
any folder of results, such as those that come with the house.

Try:
    interp report latest
    interp report patch/latest --step sweep --out heads.html
    interp report experiments/results/smollm2_causal_probes
    interp report my_result                 a result that was saved in Python
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from interp.cli.answering import Maybe, Several
from interp.errors import InputError, unknown
from interp.results import load
from interp.results.describing import RESULT_FILE
from interp.runs import find_run
from interp.runs.logs import LOG_FILE


@dataclass(frozen=True)
class Config:
    """Options of `interp report`."""

    run: tyro.conf.Positional[str] = "latest"
    """Which run: "latest", "<experiment>/latest", its path, or a part of its name;
    or the path of a folder that holds results, also further down, or of one result."""
    step: Several[str] = ()
    """Only these steps, or results of a folder (default: all); `interp runs show` lists those of a run."""
    out: Maybe[Path] = None
    """Where to write the page (default: report-from-results.html in the run;
    of a folder that is no run FOLDER.html, here)."""
    root: str = "runs"
    """Directory with the runs."""


def main(config: Config, console: Console | None = None) -> int:
    """Write the page and print its path."""
    from interp.viz import Report

    given = Path(config.run).expanduser()
    kept = given.is_dir() and not (given / LOG_FILE).is_file()
    directory = given if kept else find_run(config.run, config.root)
    stored = _under(directory) if kept else _of_run(directory)
    for name in config.step:
        if name not in stored:
            raise unknown("result in this folder" if kept else "step in this run", name, stored)
    if not stored:
        raise InputError(f"{directory} holds no results yet; finish a step first, or name a folder with results")
    name = directory.resolve().name
    report = Report(name, str(directory)) if kept else Report(directory.parent.name, directory.name)
    loaded = {step: load(path) for step, path in stored.items() if not config.step or step in config.step}
    # Files of a copied folder are as old as the copy; results say when they were made.
    order = sorted(loaded, key=lambda step: loaded[step].provenance.started) if kept else loaded
    for step in order:
        report.section(step.replace("_", " ") if kept else step).add(loaded[step])
    # Never over the run's own report, which tells more than the bare results.
    default = Path(f"{name}.html") if kept else directory / "report-from-results.html"
    path = report.write(config.out or default)
    (console or Console()).print(f"report: {path}", markup=False, highlight=False, soft_wrap=True)
    return 0


def _of_run(directory: Path) -> dict[str, Path]:
    """The steps of a run, in the order in which they were stored."""
    stored = (directory / "results").glob(f"*/{RESULT_FILE}")
    steps = (path.parent for path in sorted(stored, key=lambda path: path.stat().st_mtime))
    return {step.name: step for step in steps}


def _under(directory: Path) -> dict[str, Path]:
    """The results in a folder and below, by their path there without folders called "results"."""
    found = {}
    for path in sorted(directory.rglob(RESULT_FILE)):
        parts = [part for part in path.parent.relative_to(directory).parts if part != "results"]
        found["/".join(parts) or directory.resolve().name] = path.parent
    return found
