"""Ask the model itself what a hidden state holds: write it into another prompt, and read on (patchscopes).

Try:
    interp patchscopes "The Eiffel Tower"
    interp patchscopes "Diana, Princess of Wales" --layers 0 5 10
    interp patchscopes "The capital of France is" --inspection identity
    interp patchscopes "The Eiffel Tower" --targets 0 2 4    other targets
    interp patchscopes --precision           over texts, against lenses

A state of layer L is the stream that enters block L; it is written at the same layer unless --targets says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pandas as pd
import tyro
from rich.console import Console

from interp import lens
from interp.cli.answering import Answer, Maybe, Options, Several, answering
from interp.cli.texts import read_prompt
from interp.cli.tuned_texts import ENGLISH, load_lens, some_rows, training_texts
from interp.errors import InputError


@dataclass(frozen=True)
class Config(Options):
    """Options of `interp patchscopes`."""

    text: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[TEXT]", help_behavior_hint="")] = ""
    """The source prompt, or a file that ends in .txt."""
    position: int = -1
    """Whose state is taken: a position of the source prompt, negative from the end."""
    inspection: str = "description"
    """description (few-shot descriptions of entities), identity (few-shot repetitions), or a prompt of your own."""
    at: int = -1
    """The position of the inspection prompt that is overwritten."""
    layers: Several[int] = ()
    """Layers whose states are taken (default: all)."""
    targets: Several[int] = ()
    """Layers they are written to, each to each (default: the layer each is from)."""
    n_tokens: int = 16
    """Tokens to generate."""
    ids: bool = False
    """The text is token ids, as in "0 5 3 5"; so is an inspection prompt of your own."""
    bos: bool = False
    """Begin both prompts with the BOS token."""
    precision: bool = False
    """Instead of one prompt: how often the next token read so is the model's prediction, over held-out texts."""
    lens: Maybe[str] = None
    """With --precision: the directory of a tuned lens to compare with."""
    n: int = 64
    """With --precision: prompts."""


def main(config: Config, console: Console | None = None) -> int:
    """Read, print a row for each layer, keep everything in a run."""
    if bool(config.text) == config.precision:
        raise InputError("give a source prompt, or --precision to score many; one of the two")
    title = "Patchscope precision" if config.precision else f"Patchscope: {config.text}"
    with answering("patchscopes", config, title=title, console=console) as a:
        if config.precision:
            _precision(a, config)
        else:
            _describe(a, config)
    return 0


def _describe(answer: Answer, config: Config) -> None:
    source = read_prompt(answer.model, config.text, config.ids)
    own = config.ids and config.inspection not in ("identity", "description")
    inspection = read_prompt(answer.model, config.inspection, own)
    found = answer.step(
        "patchscope",
        lambda: lens.patchscope(
            answer.model,
            source,
            position=config.position,
            layers=list(config.layers) or None,
            inspection=inspection,
            at=config.at,
            target_layers=list(config.targets) or "same",
            n_tokens=config.n_tokens,
            prepend_bos=config.bos and not config.ids,
        ),
    )
    frame = found.descriptions()
    for name in ("layer", "target"):
        if name in frame:
            frame[name] = frame[name].astype(str)
    for name in ("next token", "generated"):
        frame[name] = frame[name].map(repr)
    answer.show(
        frame, f"what follows {found.texts['tokens'][0][found.settings['position']]!r} in the inspection prompt"
    )


def _precision(answer: Answer, config: Config) -> None:
    tuned = None if config.lens is None else load_lens(answer.model, config.lens)
    inspection = "identity" if config.inspection == "description" else config.inspection
    found = answer.step(
        "precision",
        lambda: lens.patchscope_precision(
            answer.model,
            training_texts(answer.model, ENGLISH, held_out=True),
            lens=tuned,
            layers=list(config.layers) or None,
            n=config.n,
            inspection=inspection,
            at=config.at,
            prepend_bos=config.bos,
            seed=config.seed,
        ),
    )
    columns: dict[str, list[object]] = {
        "layer": [str(layer) for layer in found.values["precision"].axis("layer").labels]
    }
    for name in ("precision", "surprisal"):
        for method in found.values[name].axis("method").labels:
            columns[f"{name} {method}"] = found.values[name].sel(method=method).data.tolist()
    answer.show(some_rows(pd.DataFrame(columns)), f"{config.n} prompts, the model's next token (surprisal in nats)")
