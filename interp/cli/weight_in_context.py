"""Which directions of a weight matrix do anything on real text? The weights with the inputs that they really get.

Try:
    interp weights in-context 18.6 OV
    interp weights in-context m20 W_out --text my_texts/
    interp weights in-context 18.6 QK --offset 1
    interp weights in-context 1.0 OV --model toy/induction

Beside the share of each singular direction in the weights: its share in what the matrix makes of its actual inputs,
and, for OV, in what the head writes after attention; and the places in the text that are furthest along it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import tyro
from rich.console import Console

from interp import heads
from interp.cli.answering import Options, answering
from interp.cli.counts import check_counts
from interp.cli.fitting import fitting_length
from interp.cli.passages import ENGLISH, long_prompts
from interp.heads import WeightsInContext
from interp.heads.matrices.parts import only_matrix
from interp.heads.rotating import titled_by_offset


@dataclass(frozen=True, kw_only=True)
class Config(Options):
    """Options of `interp weights in-context`."""

    part: Annotated[str, tyro.conf.Positional, tyro.conf.arg(help_behavior_hint="")]
    """A head, as 18.6, or an MLP, as m5."""
    matrix: Annotated[str, tyro.conf.Positional, tyro.conf.arg(help_behavior_hint="")]
    """OV or QK of a head; W_in, W_gate or W_out of an MLP."""
    text: str = ENGLISH
    """english: presidents' messages, fetched once (random where the model has no tokenizer);
    random: random tokens, repeated once; or a .txt file or a folder of them, each one text."""
    n: int = 40
    """Passages, each out of another text."""
    n_tokens: int = 128
    """Tokens of each passage, or as many as fit."""
    offset: int = 0
    """For QK in rotary models: how many tokens before the query the key lies (0: without rotation)."""
    bos: bool = False
    """Begin every passage with the BOS token."""
    directions: int = 4
    """Directions told with the places that are furthest along them."""


def main(config: Config, console: Console | None = None) -> int:
    """Run the text, print what the directions carry and where, keep everything in a run."""
    check_counts(config, n_tokens=1, directions=1)
    title = f"{config.part} {config.matrix} of {config.model} in context"
    with answering("weights-in-context", config, title=title, console=console) as a:
        only_matrix(a.model, config.part, config.matrix, config.offset)  # a mistake is told before texts are read
        # One token is left free: of random tokens, which are repeated, there may be one more.
        n_tokens = fitting_length(a.model, config.n_tokens, n_repeats=1, bos=True)
        prompts = long_prompts(a, config.text, config.n, n_tokens, config.seed, config.bos)
        found = a.step(
            "in_context",
            lambda: heads.weights_in_context(
                a.model,
                config.part,
                config.matrix,
                prompts,
                offset=config.offset,
                n=config.directions,
                seed=config.seed,
            ),
        )
        a.say(f"{found.settings['n_tokens']} tokens; {found.settings['n_left_out']} outliers are left out")
        offset = found.settings["offset"]
        a.show(
            found.summary(), titled_by_offset("singular directions, largest first, that carry half and 90 %", offset)
        )
        a.conclude(_finding(found))
        a.show(found.examples(2), titled_by_offset("places furthest along the directions that carry most", offset))
    return 0


def _finding(found: WeightsInContext) -> str:
    """How many directions carry half of what is made of the inputs, beside the weights alone."""
    rows = found.summary().set_index("share of")["directions for half"]
    told = ", ".join(f"{line} {int(n)}" for line, n in rows.items())
    return f"Half of {found.settings['matrix']} is carried by so many singular directions: {told}."
