"""A weight matrix as it is: squares whose area is the size of each weight, and whose colour its sign.

Try:
    interp weights hinton 18.6 OV --words " red" " blue" " Paris" " London"
    interp weights hinton m5 W_out --n 32
    interp weights hinton 18.6 QK --offset 1
    interp weights hinton 1.0 OV --words 0 1 2 3 --model toy/induction

Between words: how much attending to the one raises the other (OV), or how much a query of the one likes a key of the
other (QK), mean over words removed. Without words: the rows and columns with the most weight, in the model's own basis.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro
from rich.console import Console

from interp import heads
from interp.cli.answering import Options, Several, answering
from interp.cli.counts import check_counts
from interp.heads.rotating import titled_by_offset


@dataclass(frozen=True, kw_only=True)
class Config(Options):
    """Options of `interp weights hinton`."""

    part: Annotated[str, tyro.conf.Positional, tyro.conf.arg(help_behavior_hint="")]
    """A head, as 18.6, or an MLP, as m5."""
    matrix: Annotated[str, tyro.conf.Positional, tyro.conf.arg(help_behavior_hint="")]
    """OV or QK of a head; W_in, W_gate or W_out of an MLP."""
    words: Several[str] = ()
    """Single tokens, with their space, as " red"; ids where the model has no tokenizer."""
    n: int = 24
    """Without words: rows and columns that are shown."""
    offset: int = 0
    """For QK in rotary models: how many tokens before the query the key lies (0: without rotation)."""
    top: int = 8
    """Rows of the printed table."""


def main(config: Config, console: Console | None = None) -> int:
    """Draw, print the largest weights, keep everything in a run."""
    check_counts(config, n=1, top=1)
    title = f"{config.part} {config.matrix} of {config.model}"
    with answering("weights-hinton", config, title=title, console=console) as a:
        found = a.step(
            "diagram",
            lambda: heads.hinton(
                a.model, config.part, config.matrix, words=config.words or None, n=config.n, offset=config.offset
            ),
        )
        shown = found.top(config.top).rename(columns={"value": "weight"})
        means = "; mean over words removed on both sides" if config.words else ""
        a.show(shown, titled_by_offset(f"largest weights of those shown{means}", found.settings["offset"]))
        a.conclude(found.finding())
        if config.words:
            a.say("weights: logits (OV) or attention scores (QK) on the direct path, but for the scales of norms")
        else:
            a.say("weights: in the model's own basis, gains of norms folded in")
    return 0
