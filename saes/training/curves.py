"""`TrainingCurves`: the numbers on the way of a training, as a result."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar

import torch

from interp.errors import InputError
from interp.results import Axis, Plot, Result, Values
from interp.runs import provenance

WORDS = {
    "explained_variance": "explained variance",
    "l0": "active latents per token",
    "dead": "share of latents that are dead",
    "loss": "loss",
}
"""Names of numbers on the way: what they are."""
DRAWN = ("explained_variance", "l0", "dead")
MAX_LINES = 10
"""More dictionaries than this are drawn as rows of colour instead of lines."""


class TrainingCurves(Result):
    """explained_variance, l0, dead, loss [dictionary, tokens]: means over the steps between two lines of the log, on
    the tokens trained on; dead is the share of latents that had not fired for `dead_after` tokens.
    """

    kind: ClassVar[str] = "dictionary_training_curves"


def training_curves(
    lines: Sequence[dict[str, Any]], *, model: dict[str, Any], started: datetime, settings: dict[str, Any]
) -> TrainingCurves:
    """The curves in the lines of a training's log. Raises InputError where there are none."""
    read = [line for line in lines if "loss" in line]
    if not read:
        raise InputError("this training has no numbers: it was stopped before the first line of its log")
    names = tuple(dict.fromkeys(line["dictionary"] for line in read))
    tokens = tuple(sorted({line["tokens"] for line in read}))
    axes = (Axis("dictionary", names), Axis("tokens", tokens))
    values = {}
    for number in WORDS:
        data = torch.full((len(names), len(tokens)), float("nan"))
        for line in read:
            data[names.index(line["dictionary"]), tokens.index(line["tokens"])] = line[number]
        values[number] = Values(data, axes)
    source = provenance(model=model, started=started)
    drawn = [number for number in DRAWN if values[number].data.abs().nan_to_num().max() > 0]
    plots = tuple(_plot(number, values[number], len(names)) for number in drawn)
    return TrainingCurves(values=values, settings=settings, provenance=source, plots=plots)


def _plot(number: str, values: Values, n: int) -> Plot:
    kind = "lines" if n <= MAX_LINES else "heatmap"
    place = {"series": "dictionary"} if kind == "lines" else {"y": "dictionary"}
    options: dict[str, Any] = {"y_label": WORDS[number]} if kind == "lines" else {"colour_label": WORDS[number]}
    if kind == "heatmap":
        options["zero_centred"] = False
    if kind == "lines" and number == "explained_variance":
        options["y_range"] = (0.0, 1.0)
    return Plot(
        kind,  # type: ignore[arg-type]
        number,
        x="tokens",
        title=f"{WORDS[number].capitalize()} during training",
        caption=_finding(number, values),
        options=options,
        **place,
    )


def _finding(number: str, values: Values) -> str:
    """The end of the curves in one sentence."""
    last = values.data[:, -1]
    names = values.axes[0].labels
    tokens = values.axes[1].labels[-1]
    low, high = int(last.argmin()), int(last.argmax())
    if len(names) == 1 or low == high:
        return f"{WORDS[number].capitalize()} after {tokens:,} tokens: {float(last[0]):.3g}."
    ends = f"from {float(last[low]):.3g} ({names[low]}) to {float(last[high]):.3g} ({names[high]})"
    return f"{WORDS[number].capitalize()} after {tokens:,} tokens: {ends}."
