"""Find what can be read from the activations of every layer: probes, always with their controls.

Try:
    interp probe --task pos                      parts of speech in prose
    interp probe --task truth --probes logistic mean_difference
    interp probe --data labels.jsonl --sites resid_post mlp_out
    interp probe --task number --layers 0 5 10   at the subject and later

A line of a file of one's own is a text with a label at its last token, or at a word of it:

    {"text": "The cat sat.", "position": "cat", "label": "NOUN", "group": "a"}

Examples of one group stay together in training or test. Beside the task stand
a control task (a random class for every word), shuffled labels, the same model
with random weights, the token embedding alone, and the majority class; a probe
that does no better than these has found nothing that the model computes.

With its defaults (SmolLM2, 30 layers, 2000 examples) it takes about 11 minutes
of processor time; with --quick about one minute.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd
from rich.console import Console

from interp import probing
from interp.cli.answering import Answer, Maybe, Options, Several, answering
from interp.cli.labelling import chosen_examples
from interp.errors import InputError
from interp.probing import ProbeResult
from interp.probing.causal.preparing import spread
from interp.probing.telling import legend
from interp.viz.theme import interval

ROWS = 12
"""Layers of a printed table."""
QUICK_EXAMPLES, QUICK_SHUFFLES = 500, 2


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
    """logistic, ridge, mean_difference, low_rank (for three classes or more), mlp; several give one result each."""
    sites: tuple[str, ...] = ("resid_post",)
    """Kinds of activations: resid_post, attn_out, mlp_out, z, ..."""
    layers: Several[int] = ()
    """Layers (default: all, with --quick six)."""
    quick: bool = False
    """Six layers, at most 500 examples, two shuffles instead of five: for a first look."""
    classes: Several[str] = ()
    """Only these classes (default: all)."""
    drop_duplicates: bool = False
    """Leave out examples whose tokens up to their position occurred before."""
    split: str = "group"
    """What stays together in training or test: group (document, noun, ...) or type (word)."""
    folds: int = 4
    """Each example is tested once, by a probe that learnt from the other folds."""
    penalties: Several[float] = ()
    """L2 penalties of the mean loss to choose among (default: 10 to 3e-05; low_rank and mlp: 0.1 to 0.0003)."""
    rank: int = 2
    """Of low_rank probes; less than there are classes."""
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
            a,
            config.task,
            config.data,
            usual=Config.task,
            n=min(config.n, QUICK_EXAMPLES) if config.quick else config.n,
            classes=config.classes,
            seed=config.seed,
            bos=config.bos,
            drop_duplicates=config.drop_duplicates,
        )
        data = data.sample(QUICK_EXAMPLES, config.seed) if config.quick else data
        for probe in config.probes:  # whatever would be refused is refused before anything is fitted
            probing.check(a.model, data, probe=probe, **_asked(config, a.model))
        notes: dict[str, None] = {}
        for probe in config.probes:
            asked = {"probe": probe, **_asked(config, a.model)}
            found = a.step_in_parts(probe, lambda parts, asked=asked: probing.fit(a.model, data, keep=parts, **asked))  # type: ignore[misc]
            _show(a, found, probe)
            missing = [found.settings["control"]] if str(found.settings["control"]).startswith("no control") else []
            notes |= dict.fromkeys((*missing, *found.settings["notes"]))
        for note in notes:
            a.say(f"note: {note}")
    return 0


def _asked(config: Config, model: Any) -> dict[str, Any]:
    """The options of `probing.fit` that are the same for all probes."""
    layers = config.layers or (spread(int(model.cfg.n_layers)) if config.quick else None)
    return {
        "sites": config.sites,
        "layers": layers,
        "split": config.split,
        "folds": config.folds,
        "penalties": config.penalties or None,
        "rank": config.rank,
        "hidden": config.hidden,
        "seed": config.seed,
        **({"n_shuffles": QUICK_SHUFFLES} if config.quick else {}),
    }


def _show(answer: Answer, found: ProbeResult, probe: str) -> None:
    values = found.values
    for site in values["accuracy"].axis("site").labels:
        for position in values["accuracy"].axis("position").labels:
            asked = {"site": str(site), "position": str(position)}
            first = not answer.shown
            answer.show(
                _printed(found.table(**asked), ROWS),
                f"{probe} probe of {site} at {position}, on held-out examples",
                full=_printed(found.table(**asked)),
                legend=legend(found) if first else "",
            )
            answer.conclude(found.finding(**asked))


def _printed(table: pd.DataFrame, rows: int | None = None) -> pd.DataFrame:
    """The table with its interval as a text; of the layers at most `rows`, and always the last."""
    ends = zip(table.pop("accuracy_low"), table.pop("accuracy_high"))
    table.insert(2, "95 %", [interval(*each, digits=2) or "–" for each in ends])
    for name in ("loss", "bits"):  # of what is next to nothing no more digits than there is room for
        table[name] = table[name].where(table[name] >= 0.1, table[name].round(3))
    n_layers = len(table) - 2
    step = 1 if rows is None else -(-n_layers // rows)
    return table[[i >= n_layers or (n_layers - 1 - i) % step == 0 for i in range(len(table))]]
