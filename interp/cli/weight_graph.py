"""Which heads compose? A graph of the earlier heads that later ones read with their queries, keys and values.

Try:
    interp weights graph --offset 1
    interp weights graph --kinds k --max-edges 30
    interp weights graph --model toy/induction

An edge passes two tests: above what the same two heads score with the stream between them rotated at random, and
above what both of them do with other heads. Weights only: no prompt is run.
"""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console

from interp import heads
from interp.cli.answering import Options, answering
from interp.cli.counts import check_counts
from interp.heads import CompositionGraph
from interp.heads.rotating import titled_by_offset


@dataclass(frozen=True)
class Config(Options):
    """Options of `interp weights graph`."""

    kinds: tuple[str, ...] = ("q", "k", "v")
    """Into queries, keys, values."""
    offset: int = 0
    """For q and k in rotary models: how many tokens before the query the key lies (0: without rotation)."""
    level: float = 0.05
    """Of both tests, over all pairs of heads."""
    max_edges: int = 60
    """Edges that are drawn, the strongest."""
    top: int = 12
    """Rows of the printed table."""


def main(config: Config, console: Console | None = None) -> int:
    """Score all pairs, print the strongest edges, keep everything in a run."""
    check_counts(config, max_edges=1, top=1)
    with answering("weights-graph", config, title=f"Heads of {config.model} that compose", console=console) as a:
        found = a.step(
            "graph",
            lambda: heads.composition_graph(
                a.model, config.kinds, offset=config.offset, level=config.level, max_edges=config.max_edges
            ),
        )
        title = f"pairs of heads that pass each test at level {config.level:g}"
        a.show(found.counts(), titled_by_offset(title, found.settings["offset"], "Queries and keys"))
        edges = found.edges(config.top)
        if len(edges):
            a.show(edges, "strongest edges (over: standard deviations)")
        a.conclude(_finding(found))
        a.say(
            "significant: more than the same two heads with the stream between them rotated at random; specific: more "
            "than both of them do with other heads; compose: both"
        )
        if left_out := found.untested():
            a.say(
                f"–: for {', '.join(left_out)} most pairs of heads leave no spread once both heads are accounted for, "
                "so nothing can be held against it; there the first test decides alone"
            )
    return 0


def _finding(found: CompositionGraph) -> str:
    """How many pairs compose, and which most."""
    counts = found.counts()
    n, n_pairs = int(counts["compose"].sum()), int(counts["pairs"].sum())
    if not n:
        return f"None of {n_pairs:,} pairs of heads passes {found.tests()}."
    best = found.edges(1).iloc[0]
    strongest = f"{best['writer']} into {best['reader']}"
    return f"{n:,} of {n_pairs:,} pairs of heads compose{'s' * (n == 1)} by {found.tests()}, most of all {strongest}."
