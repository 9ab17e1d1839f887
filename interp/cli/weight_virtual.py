"""What does one head do with what an earlier one writes? The virtual weights between two heads (Elhage et al. 2021).

Try:
    interp weights virtual 16.0 18.6 --offset 1     into keys
    interp weights virtual 18.6 26.5 --kind v       into values
    interp weights virtual 0.0 1.0 --model toy/induction

Singular values beside the same two heads with what the first one writes turned at random; the words of the singular
directions; the largest entries over all pairs of words; how many words match themselves, as in an induction head.
`interp weights graph` finds pairs of heads worth asking about.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro
from rich.console import Console

from interp import heads
from interp.cli.answering import Answer, Options, answering
from interp.heads import VirtualWeights


@dataclass(frozen=True, kw_only=True)
class Config(Options):
    """Options of `interp weights virtual`."""

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(help_behavior_hint="")]
    """The earlier head, as 16.0."""
    destination: Annotated[str, tyro.conf.Positional, tyro.conf.arg(help_behavior_hint="")]
    """The later head, as 18.6."""
    kind: Literal["q", "k", "v"] = "k"
    """What the later head reads with: queries, keys or values."""
    offset: int = 0
    """For q and k in rotary models: how many tokens before the query the key lies (0: without rotation)."""
    n: int = 5
    """Singular directions told in words."""
    words: int = 5
    """Words at each end of a direction."""
    pairs: int = 12
    """Largest entries over all pairs of words (0: leave them out)."""
    n_random: int = 20
    """Random turns of what the first head writes."""


def main(config: Config, console: Console | None = None) -> int:
    """Multiply, print sizes, words and pairs, keep everything in a run."""
    title = f"Virtual weights of {config.model}, {config.source} to {config.destination}"
    with answering("weights-virtual", config, title=title, console=console) as a:
        found = a.step(
            "virtual",
            lambda: heads.virtual_weights(
                a.model,
                config.source,
                config.destination,
                config.kind,
                offset=config.offset,
                n=config.n,
                top=config.words,
                n_pairs=config.pairs,
                n_random=config.n_random,
                seed=config.seed,
            ),
        )
        _tell(a, found)
        a.show(found.words(), "words of the largest singular directions")
        if config.pairs:
            a.show(found.pairs(), "largest entries over all pairs of words")
    return 0


def _tell(answer: Answer, found: VirtualWeights) -> None:
    score, controls = float(found.values["score"].data), found.values["control_score"].data
    own, control = (float(found.values[name].data) for name in ("own_token", "control_own_token"))
    answer.say(
        f"composition score {score:.3g}; turned at random {float(controls.mean()):.3g}, at most "
        f"{float(controls.max()):.3g} in {len(controls)} turns"
    )
    answer.say(f"words that are the largest entry of their own row: {own:.1%}; turned at random {control:.1%}")
