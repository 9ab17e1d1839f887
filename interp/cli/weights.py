"""Which words do the weights of heads and MLPs read and write, and is that more than random matrices give?

Try:
    interp weights                           all heads, then the best of them
    interp weights --parts 26.5 18.6 m20     heads, and the MLP of layer 20
    interp weights --parts 18.6 --matrices QK --offset 1
    interp weights --model toy/induction

The singular directions of OV and QK (heads) and of W_in, W_gate and W_out (MLPs), as the words at their two ends
(Millidge & Black 2022). Under rotary positions QK is another matrix for every offset between query and key. Weights
only: no prompt is run; norms are folded in.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from rich.console import Console

from interp import heads
from interp.cli.answering import Maybe, Options, Several, answering
from interp.cli.counts import check_counts, fitting_count
from interp.heads import SingularDirections
from interp.heads.rotating import titled_by_offset
from interp.hooks.head_names import all_heads


@dataclass(frozen=True)
class Config(Options):
    """Options of `interp weights`."""

    parts: Several[str] = ()
    """Heads, as 18.6, and MLPs, as m5 (default: all heads are looked through, and the best are shown)."""
    matrices: Several[str] = ()
    """Only these of OV, QK, W_in, W_gate, W_out (default: all that a part has; OV of all heads)."""
    n: Maybe[int] = None
    """Singular directions of each matrix (default: 6, or as many as a head has)."""
    words: int = 5
    """Words at each end of a direction."""
    offset: int = 0
    """For QK in rotary models: how many tokens before the query the key lies (0: without rotation)."""
    n_random: int = 20
    """Random matrices that say what is readable by chance."""
    best: int = 5
    """Without --parts: how many heads are shown."""
    top: int = 12
    """Rows of the printed table."""


def main(config: Config, console: Console | None = None) -> int:
    """Take apart, print the directions whose words stand out most, keep everything in a run."""
    check_counts(config, n=1, words=1, n_random=2, best=1, top=1)
    with answering("weights", config, title=f"Singular directions of {config.model}", console=console) as a:
        parts, chosen = list(config.parts), config.matrices or None
        n = config.n if parts and config.n else fitting_count("n", config.n, 6, int(a.model.cfg.d_head))
        options = {"top": config.words, "offset": config.offset, "seed": config.seed}
        if not parts:
            every = all_heads(a.model)
            looked = a.step(
                "all_heads",
                lambda: heads.singular_directions(
                    a.model, every, chosen or "OV", n=min(2, n), n_random=20, n_drawn=0, **options
                ),
            )
            parts = _best(looked, config.best)
            a.say(f"{len(every)} heads looked through; shown are {', '.join(parts)}")
            a.conclude(_shares(looked, len(every), min(2, n)))
        found = a.step(
            "directions",
            lambda: heads.singular_directions(a.model, parts, chosen, n=n, n_random=config.n_random, **options),
        )
        title = "directions whose words stand out most, in SD of random directions"
        a.show(standing_out(found, config.top), titled_by_offset(title, found.settings["offset"]))
        a.conclude(*filter(None, [_count(found, bool(config.parts)), found.few_words()]))
        a.say("above: within 2 is chance; words that stand out need have nothing in common")
    return 0


def _shares(looked: SingularDirections, n_heads: int, n: int) -> str:
    """What all heads do together, from which the best are chosen."""
    rows = looked.standing_out().to_dict("records")
    told = ", ".join(f"{row['side']} {row['share']:.0%}" for row in rows)
    return (
        f"Of the {n} largest directions of all {n_heads} heads these shares stand out more than 95 % of those of "
        f"random matrices: {told}; 5 % would by chance."
    )


def _best(looked: SingularDirections, n: int) -> list[str]:
    """The heads of the sides that stand out most."""
    order = looked.top(by="signed", name="best", n=10 * n)["side"]
    return list(dict.fromkeys(str(side).split()[0] for side in order))[:n]


def standing_out(found: SingularDirections, n: int) -> pd.DataFrame:
    """The n directions furthest above random ones, with the words of the end that stands out."""
    rows = []
    for row in found.top(n, by="signed").itertuples():
        part, matrix, side = str(row.side).split()
        words = found.words(f"{part} {matrix}")
        standing = found.values[f"{part} {matrix}"]
        columns = [i for i, name in enumerate(standing.axis("word").labels) if str(name).startswith(side)]
        ends = [f"{row.direction} {pole}" for pole in "+−"]
        means = [float(standing.sel(end=end).data[columns].mean()) for end in ends]
        end = ends[means.index(max(means))]
        told = words.loc[words["end"] == end, side].iloc[0]
        rows.append({"matrix": f"{part} {matrix}", "side": side, "direction": end, "above": row.value, "words": told})
    return pd.DataFrame(rows)


def _count(found: SingularDirections, asked_for: bool) -> str:
    counted = found.standing_out()
    n, n_all = int(counted["stand out"].sum()), int(counted["directions"].sum())
    told = f"{n} of {n_all} directions shown stand out more than 95 % of those of random matrices"
    if asked_for:
        return f"{told}, of which {0.05 * n_all:.0f} would by chance."
    return f"{told}; the heads shown were chosen for this, so that says nothing about the others."
