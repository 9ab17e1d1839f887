"""Along how many directions does a head copy or match? The whole spectrum of its OV and QK circuits.

Try:
    interp weights eigen                      the heads with the largest scores
    interp weights eigen 18.6 16.0 --offset 1
    interp weights eigen 18.6 --space stream  weights alone, no vocabulary
    interp weights eigen --model toy/induction

Right in the complex plane: what goes in comes out (copying, matching); left: its opposite (Elhage et al. 2021). In
grey the same circuit with what it gives turned at random. Between words their mean is removed, on which scores depend.
`interp heads eigenvalues` sums up every head of a model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro
from rich.console import Console

from interp import heads
from interp.cli.answering import Answer, Options, Several, answering, named_heads
from interp.cli.counts import check_counts
from interp.heads import Spectra
from interp.heads.matrices.parts import matrices_of, stated_offset
from interp.heads.rotating import titled_by_offset


@dataclass(frozen=True)
class Config(Options):
    """Options of `interp weights eigen`."""

    heads: Annotated[
        Several[str], tyro.conf.Positional, tyro.conf.arg(metavar="[HEAD ...]", help_behavior_hint="")
    ] = ()
    """Heads, as 18.6 (default: those whose OV circuit has the largest eigenvalue scores by size)."""
    circuits: Several[str] = ()
    """OV (what a head does with what it attends to), QK (what it attends to); default: both."""
    space: Literal["vocabulary", "stream"] = "vocabulary"
    """From words to words, mean over words removed; or the weights between directions of the stream alone."""
    offset: int = 0
    """For QK in rotary models: how many tokens before the query the key lies (0: without rotation)."""
    n_random: int = 20
    """Random turns of each circuit."""
    best: int = 6
    """Without heads: how many are shown."""


def main(config: Config, console: Console | None = None) -> int:
    """Decompose, print the scores beside those of turned circuits, keep everything in a run."""
    check_counts(config, n_random=2, best=1)
    with answering("weights-eigen", config, title=f"Spectra of heads of {config.model}", console=console) as a:
        # A mistake is told before heads are scored.
        stated_offset(a.model, matrices_of(a.model, ["0.0"], config.circuits or None, config.offset), config.offset)
        chosen = list(config.heads) or _best(a, config.best)
        found = a.step(
            "spectra",
            lambda: heads.decompose(
                a.model,
                chosen,
                config.circuits or None,
                space=config.space,
                offset=config.offset,
                n_random=config.n_random,
                seed=config.seed,
            ),
        )
        a.show(found.summary(), _title(found))
        a.conclude(*found.findings())
        if not config.heads:
            a.say(f"chosen as the {len(chosen)} heads with the largest OV scores by size, so those are no fair sample")
    return 0


def _title(found: Spectra) -> str:
    """What the columns are, and of which matrices."""
    mean = "mean over words removed; " if found.settings["space"] == "vocabulary" else ""
    turns = f"the range of {found.settings['n_random']} random turns of the same circuit"
    title = f"score: sum of eigenvalues over sum of sizes ({mean}turned: {turns})"
    return titled_by_offset(title, found.settings["offset"])


def _best(answer: Answer, n: int) -> list[str]:
    found = answer.step("scores", lambda: heads.eigenvalue_scores(answer.model, "OV"))
    return list(named_heads(found.sel(circuit="OV").top(n))["head"])
