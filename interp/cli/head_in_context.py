"""How much better is the model late in a text than early in it? The in-context learning score (Olsson et al. 2022).

Try:
    interp heads in-context                          English prose
    interp heads in-context --text my_texts/         texts of your own
    interp heads in-context --text random            random tokens, repeated
    interp heads in-context --early 20 --late 200 --window 1
    interp heads in-context --model toy/induction

The score is the loss at the late token less the loss at the early one: negative where the model uses what it has read.
The paper finds about -0.4 nats at tokens 500 and 50 of texts, for models of all sizes. On random tokens that repeat
only repetition can help, so that score says what induction alone is worth.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from rich.console import Console

from interp import heads
from interp.cli.answering import Maybe, Options, answering
from interp.cli.passages import ENGLISH, Places, long_prompts


@dataclass(frozen=True)
class Config(Options):
    """Options of `interp heads in-context`."""

    text: str = ENGLISH
    """english: presidents' messages, fetched once (random where the model has no tokenizer);
    random: random tokens, repeated once;
    or a .txt file or a folder of them, each one text."""
    n: int = 32
    """Passages, each out of another text, or prompts of random tokens."""
    early: Maybe[int] = None
    """The early token, counted from 0 (default: 50, or what fits the context)."""
    late: Maybe[int] = None
    """The late token (default: 500, or what fits)."""
    window: Maybe[int] = None
    """Tokens averaged from each of the two on (default: 50, or what fits); the paper's 1 is noisy for few texts."""
    bos: bool = False
    """Begin every text with the BOS token."""


def main(config: Config, console: Console | None = None) -> int:
    """Measure, print both losses and the score, keep everything in a run."""
    with answering("heads-in-context", config, title=f"In-context learning of {config.model}", console=console) as a:
        places = Places.chosen(a.model, config.early, config.late, config.window)
        prompts = long_prompts(a, config.text, config.n, places.n_tokens, config.seed, config.bos)
        found = a.step("in-context", lambda: heads.in_context_score(a.model, prompts, **asdict(places)))
        words = f"loss in nats, {places.window} tokens from {places.early} and from {places.late} on"
        a.show(found.to_frame(), f"{words} ({found.settings['n']} prompts)")
    return 0
