"""Which heads read, by their weights, what earlier heads write? Q-, K- and V-composition (Elhage et al. 2021).

Try:
    interp heads composition                                      keys
    interp heads composition --kind v --top 20
    interp heads composition --sources 16.0 11.1 --destinations 18.6
    interp heads composition --model toy/induction

Beside every score: how far it is above pairs of random heads of the same shape. Weights only: no prompt is run.
"""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console

from interp import heads
from interp.cli.answering import Options, Several, answering


@dataclass(frozen=True)
class Config(Options):
    """Options of `interp heads composition`."""

    kind: str = "k"
    """What the later head reads with: q, k or v."""
    sources: Several[str] = ()
    """Earlier heads, as 16.0 (default: all)."""
    destinations: Several[str] = ()
    """Later heads (default: all)."""
    offset: int = 0
    """In rotary models, for q and k: how many tokens before the query the key lies (0: without rotation)."""
    n_random: int = 200
    """Pairs of random heads that give the baseline."""
    top: int = 10
    """Rows of the printed table."""


def main(config: Config, console: Console | None = None) -> int:
    """Score, print the pairs that compose most, keep everything in a run."""
    title = f"{config.kind.upper()}-composition in {config.model}"
    with answering("heads-composition", config, title=title, console=console) as a:
        asked = {
            "sources": config.sources or None,
            "destinations": config.destinations or None,
            "offset": config.offset,
            "n_random": config.n_random,
            "seed": config.seed,
        }
        found = a.step("composition", lambda: heads.composition_scores(a.model, config.kind, **asked))
        mean, low, high = (float(found.values[f"baseline{end}"].data) for end in ("", "_low", "_high"))
        a.show(found.best(config.top), f"pairs of heads that compose most ({config.kind})")
        a.say(f"pairs of random heads: {mean:.3g}, 95 % of them from {low:.3g} to {high:.3g}")
    return 0
