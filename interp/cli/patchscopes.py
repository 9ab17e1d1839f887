"""Ask the model itself what a hidden state holds: write it into another prompt, and read on (patchscopes).

Try:
    interp patchscopes "The Eiffel Tower"
    interp patchscopes "Diana, Princess of Wales" --layers 0 5 10
    interp patchscopes "The capital of France is" --inspection identity
    interp patchscopes "The Eiffel Tower" --targets 0 2 4    other targets
    interp patchscopes --precision           over texts, against lenses

A state of layer L is the stream that enters block L; it is written at the same layer unless --targets says otherwise.
A description begins with the ":" that all examples of the prompt share: what is scored is the token after it, beside
its probability when nothing is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

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
from interp.lens.patchscope_runs import INSPECTIONS, marked_prompt

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
    separator: Maybe[str] = None
    """What the prompt's examples have before what they say; passed over in what is scored (default: ":" for
    description, "->" for identity, nothing for a prompt of your own)."""
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
            separator=config.separator,
            n_tokens=config.n_tokens,
            prepend_bos=config.bos and not config.ids,
        ),
    )
    frame = found.descriptions()
    for name in ("layer", "target"):
        if name in frame:
            frame[name] = frame[name].astype(str)
    for name in ("first token", "generated"):
        frame[name] = frame[name].map(repr)
    answer.show(frame, f"what follows {found.place} in the inspection prompt", legend=_legend(found))
    answer.conclude(*_read_at(found, frame))


def _legend(found: lens.Patchscope) -> str:
    """The prompt that is written into, and what the numbers are of."""
    separator, skipped = found.settings["separator"], str(found.texts["skipped"])
    after = f", after the {separator!r} that its examples share" if separator and separator in skipped else ""
    return (
        f"probability: of the first token{after}; unwritten: of the same token when nothing is written.\n"
        f"The state is written over « » in the inspection prompt: {found.prompt}"
    )


def _read_at(found: lens.Patchscope, frame: pd.DataFrame) -> list[str]:
    """What is read early, halfway and late, and what the prompt says without any state; no layer is the answer."""
    layers = list(dict.fromkeys(frame["layer"]))
    n = len(layers)
    told = {"early": layers[n // 6], "halfway": layers[n // 2], "late": layers[n - 1 - n // 6]}
    if n < 3:
        told = {"": layers[0]} if n == 1 else {"early": layers[0], "late": layers[1]}
    said = []
    for when, layer in told.items():
        row = _nearest(frame[frame["layer"] == layer])
        where = f"layer {layer}" + (f", written at layer {row['target']}" if "target" in row else "")
        numbers = f"{row['first token']} {row['probability']:.2g}, unwritten {row['unwritten']:.2g}"
        said.append(f"{when} ({where}) {row['generated']} ({numbers})".strip())
    return [
        f"What is read from states of {found.place}: {'; '.join(said)}.",
        f"With nothing written the prompt goes on {found.settings['unwritten']!r}. A high probability says that the "
        "model is sure of its words, not that they are right.",
    ]


def _nearest(frame: pd.DataFrame) -> dict[str, Any]:
    """Of the rows of one source layer, the one that is written closest to it."""
    rows = [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]
    return min(rows, key=lambda row: abs(int(row.get("target", row["layer"])) - int(row["layer"])))


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
    answer.show(
        some_rows(pd.DataFrame(columns)),
        f"{config.n} prompts, the model's next token (surprisal in nats)",
        legend=f"the state is written over « » in the inspection prompt: {marked_prompt(found.settings)}",
    )
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
