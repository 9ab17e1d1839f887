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
from interp.cli.answering import Answer, Maybe, Options, answering
from interp.cli.counts import check_counts, fitting_count
from interp.heads import VirtualWeights
from interp.heads.rotating import key_place


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
    n: Maybe[int] = None
    """Singular directions told in words (default: 5, or as many as a head has)."""
    words: int = 5
    """Words at each end of a direction."""
    pairs: int = 12
    """Largest entries over all pairs of words (0: leave them out)."""
    n_random: int = 20
    """Random turns of what the first head writes."""


def main(config: Config, console: Console | None = None) -> int:
    """Multiply, print sizes, words and pairs, keep everything in a run."""
    check_counts(config, n=1, words=1, pairs=0, n_random=2)
    title = f"Virtual weights of {config.model}, {config.source} to {config.destination}"
    with answering("weights-virtual", config, title=title, console=console) as a:
        n = fitting_count("n", config.n, 5, int(a.model.cfg.d_head))
        found = a.step(
            "virtual",
            lambda: heads.virtual_weights(
                a.model,
                config.source,
                config.destination,
                config.kind,
                offset=config.offset,
                n=n,
                top=config.words,
                n_pairs=config.pairs,
                n_random=config.n_random,
                seed=config.seed,
            ),
        )
        _tell(a, found)
        where = f"{_place(found)}; mean over words removed"
        a.show(found.words(), f"words of the largest singular directions ({where})")
        if config.pairs:
            n_pairs = found.settings["n_words"][1] ** 2
            a.show(found.pairs(), f"largest entries of all {n_pairs:,} pairs of words, the extremes only ({where})")
    return 0


def _place(found: VirtualWeights) -> str:
    """Which of the matrices of a rotary model it is."""
    offset = found.settings["offset"]
    if offset is None:
        return "no offset in these weights"
    return "rotation left out (offset 0)" if offset == 0 else f"QK {key_place(offset)}"


def _tell(answer: Answer, found: VirtualWeights) -> None:
    score, controls = float(found.values["score"].data), found.values["control_score"].data
    answer.show(found.beside_turns(), f"beside {len(controls)} random turns of what {found.settings['source']} writes")
    answer.conclude(
        f"Composition score {score:.3g}; turned at random {float(controls.mean()):.3g}, at most "
        f"{float(controls.max()):.3g} in {len(controls)} turns.",
        found.verdict(),
    )
    answer.say("like-with-like: strong from half of the words on; weak: fewer, but more than in 95 % of the turns")
