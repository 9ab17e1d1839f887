"""Write the HTML report of a run again, from the results it keeps: after an interruption, or for a single step.

Try:
    interp report latest
    interp report patch/latest --step sweep --out heads.html
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


@dataclass(frozen=True)
class Config:
    """Options of `interp report`."""

    run: tyro.conf.Positional[str] = "latest"
    """Which run: "latest", "<experiment>/latest", its path, or a part of its name."""
    step: Several[str] = ()
    """Only these steps (default: all); `interp runs show` lists them."""
    out: Maybe[Path] = None
    """Where to write the page (default: report-from-results.html in the run)."""
    root: str = "runs"
    """Directory with the runs."""


def main(config: Config, console: Console | None = None) -> int:
    """Write the page and print its path."""
    from interp.viz import Report

    directory = find_run(config.run, config.root)
    stored = sorted(
        (path.parent for path in (directory / "results").glob(f"*/{RESULT_FILE}")),
        key=lambda step: (step / RESULT_FILE).stat().st_mtime,
    )
    names = [step.name for step in stored]
    for name in config.step:
        if name not in names:
            raise unknown("step in this run", name, names)
    if not stored:
        raise InputError(f"{directory} holds no results yet; finish a step first")
    report = Report(directory.parent.name, directory.name)
    for step in stored:
        if not config.step or step.name in config.step:
            report.section(step.name).add(load(step))
    # Never over the run's own report, which tells more than the bare results.
    path = report.write(config.out or directory / "report-from-results.html")
    (console or Console()).print(f"report: {path}", markup=False, highlight=False, soft_wrap=True)
    return 0
