"""Do a head's weights copy (OV) and match like with like (QK)? Eigenvalue scores (Elhage et al. 2021).

Try:
    interp heads eigenvalues
    interp heads eigenvalues --circuits OV --top 20
    interp heads eigenvalues --offset 1              a key one token back
    interp heads eigenvalues --model toy/induction

1: every combination of tokens that a circuit maps onto itself, it maps there with a positive sign; -1: a negative one;
near 0: a random circuit. From words to words, mean over words removed. Weights only: no prompt is run.
"""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console

from interp import heads
from interp.cli.answering import Answer, Options, answering, named_heads
from interp.heads import EigenvalueScores
from interp.heads.rotating import titled_by_offset


@dataclass(frozen=True)
class Config(Options):
    """Options of `interp heads eigenvalues`."""

    circuits: tuple[str, ...] = ("OV", "QK")
    """OV (what a head does with what it attends to), QK (what it attends to)."""
    offset: int = 0
    """In models with rotary positions: how many tokens before the query the key lies (0: without rotation)."""
    top: int = 8
    """Rows of the printed tables."""


def main(config: Config, console: Console | None = None) -> int:
    """Score, print the heads with the largest scores, keep everything in a run."""
    with answering("heads-eigenvalues", config, title=f"Eigenvalue scores of {config.model}", console=console) as a:
        circuits, offset = config.circuits, config.offset
        found = a.step("eigenvalues", lambda: heads.eigenvalue_scores(a.model, circuits, offset=offset))
        for circuit in circuits:
            _show(a, found, circuit, config.top)
    return 0


def _show(answer: Answer, found: EigenvalueScores, circuit: str, n: int) -> None:
    best = found.sel(circuit=circuit).top(n).rename(columns={"value": "score"})
    largest = found.values["largest"].sel(circuit=circuit).data
    best["largest eigenvalue's share"] = [float(largest[i, j]) for i, j in zip(best["layer"], best["head"])]
    title = f"{circuit} circuits, largest scores by size (mean over words removed)"
    answer.show(named_heads(best), titled_by_offset(title, found.settings["offset"] if circuit == "QK" else None))
