"""Hold the methods that score edges against circuits that are known exactly.

Every method scores the edges of small models whose weights were written by hand, so that the edges that matter, by how
much, and which sets of edges suffice are algebra and not a measurement. What a method cannot see is said in words.

Try:
    interp circuit ground-truth
    interp circuit ground-truth --methods eap eap-ig exact --toys toy/and toy/or
    interp circuit ground-truth --n 4 --directions noise
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

import pandas as pd
from rich.console import Console

from interp.circuits import ground_truth_table
from interp.cli.answering import NOT_SETTINGS, Several, as_table
from interp.errors import InputError
from interp.runs import open_run
from interp.viz import Report

TITLE = "Methods against known circuits"
IN_SHORT = (
    "Every method scored the edges of models whose weights were written by hand, so that the edges that matter, by how "
    "much, and which sets suffice are known exactly. A case is a model and a direction: edges made corrupt in the "
    "clean run (noise) or clean in the corrupt run (denoise)."
)
BY_METHOD = (
    "Each method over its cases (cases: those it does not refuse; scores that are no effects have no denoise). Means "
    "over cases: auroc, chance that an edge that matters alone is scored above another (0.5: chance); circuit_auroc, "
    "the same for edges of any sufficient set; spearman, rank correlation with exact effects; error, sum of "
    "|score - effect| over the sum of |effect|. Sums: missed, edges with less than 1 % of their effect; spurious, "
    "edges that do nothing alone and got more than 1 % of the largest effect; seconds of processor time."
)
ABOUT = (
    "alone: AUROC of |score| for edges that matter alone; circuit: for edges of any sufficient set; error: of the "
    "effects' sizes; missed: edges with less than 1 % of their effect. The report has more columns."
)


@dataclass(frozen=True)
class Config:
    """Options of `interp circuit ground-truth`."""

    methods: Several[str] = ()
    """eap, eap-ig, eap-ig-activations, eap-qk-fix, exact, ifr, edge-pruning, ugs, hisp, acdc (default: all)."""
    toys: Several[str] = ()
    """Hand-built models, as toy/and; `interp models` lists them (default: all)."""
    directions: tuple[Literal["noise", "denoise"], ...] = ("noise", "denoise")
    """noise: edges are changed in the clean run; denoise: in the corrupt one."""
    n: int = 8
    """Prompt pairs of each model."""
    seed: int = 0
    """Decides every random draw."""
    out: str = "runs"
    """The directory under which run directories are made, OUT/circuit-ground-truth/<time>-<hash of the settings>/."""
    fresh: bool = False
    """Start a run of its own, even where an interrupted one of the same settings could go on."""


def main(config: Config, console: Console | None = None) -> int:
    """Score everything, print the table and the notes, keep both in a run."""
    console = console or Console()
    if config.n < 2:
        raise InputError(f"--n is how many prompt pairs each model gets, at least 2, not {config.n}")
    settings = {name: value for name, value in asdict(config).items() if name not in NOT_SETTINGS}
    with open_run("circuit-ground-truth", settings, root=config.out, resume=not config.fresh) as run:
        found = run.step(
            "table",
            lambda: ground_truth_table(
                config.methods or None, config.toys or None, config.seed, n=config.n, directions=config.directions
            ),
        )
        table = found.to_table()  # type: ignore[attr-defined]
        notes = found.notes  # type: ignore[attr-defined]
        report = Report(TITLE).section("In short", IN_SHORT).add(_by_method(table), caption=BY_METHOD)
        report.section("What methods miss and refuse", "\n\n".join(notes))
        path = (
            report.section("Figures", "Each table is one column of Table 1, toy by toy.")
            .add(found)
            .write(run.path("report.html"))
        )
    console.print(as_table(_short(table), TITLE))
    for line in (ABOUT, *notes, f"results: {run.directory}", f"report:  {path}"):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return 0


def _by_method(table: pd.DataFrame) -> pd.DataFrame:
    """One row a method over all its cases, in the order of the methods."""
    groups = table.groupby("method", sort=False)
    frame = groups[["auroc", "circuit_auroc", "spearman", "error"]].mean()
    frame[["missed", "spurious"]] = groups[["missed", "spurious"]].sum(min_count=1)
    frame["seconds"] = groups["seconds"].sum()
    frame.insert(0, "cases", groups.size())
    return frame.reset_index()


def _short(table: pd.DataFrame) -> pd.DataFrame:
    """The columns that a terminal has room for."""
    short = table[["case", "method", "auroc", "circuit_auroc", "error", "missed"]]
    return short.rename(columns={"auroc": "alone", "circuit_auroc": "circuit"})
