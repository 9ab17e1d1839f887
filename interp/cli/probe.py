"""Find what can be read from the activations of every layer: probes, always with their controls.

Try:
    interp probe --task pos                      parts of speech in prose
    interp probe --task truth --probes logistic mean_difference
    interp probe --data labels.jsonl --sites resid_post mlp_out
    interp probe --task number --layers 0 5 10   at the subject and later

A line of a file of one's own is a text with a label at its last token, or at a word of it:

    {"text": "The cat sat.", "position": "cat", "label": "NOUN", "group": "a"}

Examples of one group stay together in training or test. Beside the task stand a control task (a random class for every
word), shuffled labels, the same model with random weights, the token embedding alone, and the majority class; a probe
that does no better than these has found nothing that the model computes.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import Any

import pandas as pd
from rich.console import Console

from interp import probing
from interp.cli.answering import Answer, Maybe, Options, Several, answering
from interp.cli.labelling import chosen_examples
from interp.errors import InputError
from interp.probing import LabelledTokens, ProbeResult
from interp.viz.theme import interval, number

ROWS = 12
"""Layers of a printed table."""


@dataclass(frozen=True)
class Config(Options):
    """Options of `interp probe`."""

    task: str = "pos"
    """pos, entity, number, tense, position, next_token or truth."""
    data: Maybe[str] = None
    """A .jsonl file of labelled texts, instead of a task."""
    n: int = 2000
    """Examples of a task; of a file all are used."""
    probes: tuple[str, ...] = ("logistic",)
    """logistic, ridge, mean_difference, low_rank, mlp; several give one result each."""
    sites: tuple[str, ...] = ("resid_post",)
    """Kinds of activations: resid_post, attn_out, mlp_out, z, ..."""
    layers: Several[int] = ()
    """Layers (default: all)."""
    classes: Several[str] = ()
    """Only these classes (default: all)."""
    split: str = "group"
    """What stays together in training or test: group (document, noun, ...) or type (word)."""
    folds: int = 4
    """Each example is tested once, by a probe that learnt from the other folds."""
    rank: int = 2
    """Of low_rank probes."""
    hidden: int = 64
    """Units of mlp probes."""
    bos: bool = False
    """Begin every prompt with the BOS token."""


def main(config: Config, console: Console | None = None) -> int:
    """Fit the probes, print accuracy by layer with the controls, keep everything in a run."""
    title = f"What can be read: {config.data or config.task}"
    with answering("probe", config, title=title, console=console) as a:
        if not config.probes:
            raise InputError("no probes were named; give one or several, such as --probes logistic mlp")
        data = chosen_examples(
            a, config.task, config.data, n=config.n, classes=config.classes, seed=config.seed, bos=config.bos
        )
        for probe in config.probes:
            _show(a, a.step(probe, lambda probe=probe: _fitted(a, config, data, probe)), probe)  # type: ignore[misc]
    return 0


def _fitted(answer: Answer, config: Config, data: LabelledTokens, probe: str) -> ProbeResult:
    """One probe; its finished parts are kept until it is whole, so that an interrupted run goes on there."""
    parts = answer.run.directory / "parts" / probe
    found = probing.fit(
        answer.model,
        data,
        probe=probe,
        sites=config.sites,
        layers=config.layers or None,
        split=config.split,
        folds=config.folds,
        rank=config.rank,
        hidden=config.hidden,
        seed=config.seed,
        keep=parts,
    )
    shutil.rmtree(parts.parent, ignore_errors=True)
    return found


def _show(answer: Answer, found: ProbeResult, probe: str) -> None:
    values = found.values
    for site in values["accuracy"].axis("site").labels:
        for position in values["accuracy"].axis("position").labels:
            what = f"{probe} probe of {site} at {position}"
            title = f"{what}: accuracy on held-out examples; bits an example"
            answer.show(_by_layer(found, str(site), str(position)), title)
            best = found.best_layer(site=str(site), position=str(position))
            alone = number(float(values["embedding_accuracy"].sel(position=position).data))
            majority = number(float(values["majority_accuracy"].data))
            answer.say(f"{what}: least log-loss in layer {best}; embedding alone {alone}, majority class {majority}")
    missing = [found.settings["control"]] if str(found.settings["control"]).startswith("no control") else []
    for note in (*missing, *found.settings["notes"]):
        answer.say(f"note: {note}")


def _by_layer(found: ProbeResult, site: str, position: str) -> pd.DataFrame:
    """One row for each of a dozen layers; control task, shuffled labels and random weights are accuracies too."""
    values = {name: item.sel(site=site, position=position) for name, item in found.values.items() if _by_site(item)}
    labels = values["accuracy"].axis("layer").labels
    step = -(-len(labels) // ROWS)
    shown = [i for i in range(len(labels)) if (len(labels) - 1 - i) % step == 0]

    def column(name: str) -> list[float]:
        return [float(values[name].data[i]) for i in shown]

    rows: dict[str, list[Any]] = {
        "layer": [labels[i] for i in shown],
        "accuracy": column("accuracy"),
        "95 %": [interval(*ends) for ends in zip(column("accuracy_low"), column("accuracy_high"))],
        "control": column("control_accuracy"),
        "shuffled": column("shuffled_accuracy"),
        "random": column("random_model_accuracy"),
        "log-loss": column("log_loss"),
        "bits": column("code_length"),
    }
    return pd.DataFrame(rows)


def _by_site(values: Any) -> bool:
    return values.dims[:2] == ("site", "position")
