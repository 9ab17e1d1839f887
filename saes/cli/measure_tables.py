"""The short tables of `saes train` and `saes evaluate`: a row for each dictionary, few measures, what they mean."""

from __future__ import annotations

import pandas as pd

from interp.results import Values
from saes.training.training_run import TrainingRun

COLUMNS = {
    "l0": "L0",
    "explained_variance": "EV",
    "ce_recovered_mean": "recovered",
    "ce_increase": "loss +",
    "dead": "dead",
}
"""Measures that are shown: the words for them."""
MEANING = {
    "L0": "L0: active latents per token.",
    "EV": "EV: explained variance.",
    "recovered": "recovered: of the loss that the mean activation costs.",
    "loss +": "loss +: nats that reconstructions cost the model.",
    "dead": "dead: share of latents.",
}


def meanings(frame: pd.DataFrame) -> str:
    """What the columns of a table are, for those that it has."""
    return " ".join(text for column, text in MEANING.items() if column in frame)


def table_of_measures(measures: Values) -> pd.DataFrame:
    """A row for each dictionary with the measures that are shown, in short words."""
    names, labels = (axis.labels for axis in measures.axes)
    frame = pd.DataFrame(measures.data.numpy(), columns=list(labels))
    shown = frame[[key for key in COLUMNS if key in labels]].rename(columns=COLUMNS)
    shown.insert(0, "dictionary", list(names))
    return shown


def table_of(run: TrainingRun) -> pd.DataFrame:
    """A row for each dictionary: what was measured inside the model, else what was on held-out activations."""
    rows = []
    if run.evaluation:
        return pd.concat([table_of_measures(found.values["measures"]) for found in run.evaluation.values()])
    for name in run.dictionaries:
        last = run.last(name)
        held = {key: last.get(f"held_out_{key}", last.get(key, float("nan"))) for key in ("l0", "explained_variance")}
        rows.append({"dictionary": name, **{COLUMNS[key]: value for key, value in held.items()}, "dead": last["dead"]})
    return pd.DataFrame(rows)
