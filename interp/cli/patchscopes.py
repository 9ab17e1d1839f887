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
from torch import Tensor

from interp import lens
from interp.cli.answering import Answer, Maybe, Options, Several, answering
from interp.cli.passages import ENGLISH
from interp.cli.texts import read_prompt
from interp.cli.tuned_texts import context_length, held_out_contexts, load_lens, some_rows
from interp.errors import InputError
from interp.lens.patchscope_runs import INSPECTIONS

LENGTH = 48
"""Tokens of a prompt with --precision."""


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
    inspection = _inspection(answer, config, config.inspection)
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
    token = repr(found.texts["tokens"][0][found.settings["position"]])
    answer.show(frame, f"what follows {token} in the inspection prompt")
    answer.conclude(_surest(frame, token))


def _surest(frame: pd.DataFrame, token: str) -> str:
    """The state that the model goes on from most surely."""
    row = frame.sort_values("probability").iloc[-1]
    where = f"layer {row['layer']}" + (f", written at layer {row['target']}," if "target" in frame else "")
    return (
        f"The state of {token} from {where} is what the model goes on from most surely: {row['generated']} "
        f"(first token {row['probability']:.2f})."
    )


def _precision(answer: Answer, config: Config) -> None:
    tuned = None if config.lens is None else load_lens(answer.model, config.lens)
    inspection = _inspection(answer, config, "identity" if config.inspection == "description" else config.inspection)
    # Prompts are as long as in Python, or as the model takes them.
    length = context_length(answer.model, LENGTH, ENGLISH, config.bos)
    contexts = held_out_contexts(answer.model, ENGLISH, length, config.n, seed=config.seed, bos=config.bos)
    found = answer.step(
        "precision",
        lambda: lens.patchscope_precision(
            answer.model,
            contexts,
            lens=tuned,
            layers=list(config.layers) or None,
            n=config.n,
            length=length,
            inspection=inspection,
            at=config.at,
            prepend_bos=config.bos and isinstance(inspection, str),
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
    answer.conclude(_compared(found))


def _inspection(answer: Answer, config: Config, given: str) -> str | Tensor:
    """The inspection prompt: the name of one, a text, or token ids."""
    if given not in INSPECTIONS:
        return read_prompt(answer.model, given, config.ids)
    if answer.model.tokenizer is None:
        raise InputError(
            f"{answer.model.cfg.model_name} has no tokenizer, and the inspection prompt {given!r} is a text; give "
            "--inspection as token ids too, as in --ids --inspection '0 5 3'"
        )
    return given


def _compared(found: lens.PatchscopePrecision) -> str:
    """The precision of every method halfway and at the last layer."""
    precision = found.values["precision"]
    layers = precision.axis("layer").labels
    said = []
    for i in dict.fromkeys((len(layers) // 2, len(layers) - 1)):
        shares = precision.sel(layer=layers[i]).data.tolist()
        told = [f"{share:.2f} ({method})" for method, share in zip(precision.axis("method").labels, shares)]
        said.append(f"from layer {layers[i]}: {', '.join(told)}")
    n = found.settings["n"]
    return f"Share of {n} prompts whose next token is read as the model predicts it, {'; '.join(said)}."
