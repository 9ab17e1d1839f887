"""Look at one prompt: where heads attend, what each layer would predict, and which heads write the prediction.

Try:
    interp look "When Mary and John went to the store, John gave a drink to"
    interp look "The capital of France is" --target " Paris" --model gpt2
    interp look prompt.txt --distractor " London"
    interp look "0 5 3 5" --ids --model toy/induction    without tokenizer
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pandas as pd
import tyro
from rich.console import Console

import interp
from interp.cli.answering import Answer, Maybe, Options, answering
from interp.cli.texts import missing_space, quoted, read_prompt, read_token
from interp.lens import Look
from interp.models.tokens import to_strings


@dataclass(frozen=True, kw_only=True)
class Config(Options):
    """Options of `interp look`."""

    text: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TEXT")]
    """The prompt, or a file that ends in .txt."""
    target: Maybe[str] = None
    """The token to explain, with its leading space (default: the model's own prediction)."""
    distractor: Maybe[str] = None
    """The token to compare with (default: the mean over the vocabulary)."""
    ids: bool = False
    """The text, target and distractor are token ids, as in "0 5 3 5"."""
    heads: int = 12
    """Heads whose attention and sources are shown: those that contribute most."""
    bos: bool = False
    """Begin the prompt with the BOS token."""
    top: int = 8
    """Rows of the printed tables."""


def main(config: Config, console: Console | None = None) -> int:
    """Look, print the prediction and who writes it, keep everything in a run with its report."""
    with answering("look", config, title=f"A look at: {config.text}", console=console) as a:
        text = read_prompt(a.model, config.text, config.ids)
        target, distractor = (read_token(token, config.ids) for token in (config.target, config.distractor))
        for token in (target, distractor):
            if note := missing_space(a.model, text, token):
                a.say(note)
        options = {"target": target, "distractor": distractor}
        seen = a.step(
            "look",
            lambda: interp.look(
                a.model, text, heads=config.heads, top_k=max(config.top, 10), prepend_bos=config.bos, **options
            ),
        )
        a.show(_predictions(a, seen, config.top), "the model predicts")
        a.show(_heads(seen, config.top), f"heads that write {quoted(seen.texts['target'][0])}")
        a.show(seen.top(config.top, name="component_contribution"), "parts that write it")
        a.say(f"all parts together: {float(seen.values['total'].data):.2f} logits")
    return 0


def _predictions(answer: Answer, seen: Look, n: int) -> pd.DataFrame:
    ids, log_probs = (seen.values[name].data[-1, -1, :n] for name in ("top_ids", "top_log_probs"))
    tokens = [quoted(token) for token in to_strings(answer.model, ids)]
    return pd.DataFrame({"token": tokens, "probability": log_probs.exp().tolist()})


def _heads(seen: Look, n: int) -> pd.DataFrame:
    """The heads that contribute most, and the token each of them takes most of it from."""
    sources = seen.values["source_contribution"]
    rows = []
    for head in seen.settings["heads"][:n]:
        layer, index = (int(part) for part in head.split("."))
        contribution = float(seen.values["head_contribution"].sel(layer=layer, head=index).data)
        from_each = sources.sel(head=head).data
        place = int(from_each.abs().argmax())
        token = seen.texts["tokens"][0][place]
        rows.append((head, contribution, quoted(token), place, float(from_each[place])))
    return pd.DataFrame(rows, columns=["head", "contribution", "mostly from", "position", "of it"])
