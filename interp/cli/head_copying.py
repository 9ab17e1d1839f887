"""Does a head raise the logit of the token it attends to? Copying scores of random tokens (Olsson et al. 2022).

Try:
    interp heads copying
    interp heads copying --reads first_block    many models' embeddings need it
    interp heads copying --model toy/induction

1: all that a head raises, attending to a token, is that token's own logit. A score says what a head would copy if it
attended to a token, not whether it does.
"""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console

from interp import heads
from interp.cli.answering import Maybe, Options, answering, named_heads
from interp.cli.fitting import context_of
from interp.tasks.wording import ordinary_tokens


@dataclass(frozen=True)
class Config(Options):
    """Options of `interp heads copying`."""

    n: int = 10
    """Samples of random tokens."""
    length: Maybe[int] = None
    """Different tokens of a sample (default: 25, or what vocabulary and context allow)."""
    reads: str = "embedding"
    """What a head reads at a token:
    embedding: the token's own, as in the paper;
    first_block: the stream after block 0;
    stream: what stands there when the head's layer begins."""
    top: int = 10
    """Rows of the printed table."""


def main(config: Config, console: Console | None = None) -> int:
    """Score, print the heads that copy most, keep everything in a run."""
    with answering("heads-copying", config, title=f"Copying scores of {config.model}", console=console) as a:
        length = config.length or min(25, len(ordinary_tokens(a.model)), context_of(a.model) or 25)
        asked = {"n": config.n, "length": length, "seed": config.seed, "reads": config.reads}
        found = a.step("copying", lambda: heads.copying_scores(a.model, **asked))
        title = f"heads that copy most ({config.n} samples of {length} tokens; a random head: {2 / length - 1:.2f})"
        a.show(named_heads(found.top(config.top, by="signed")), title)
    return 0
