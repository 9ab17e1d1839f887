"""A probe's result in words: a table of its layers beside the baselines, what its columns are, and what was found."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from interp.probing.probe_result import ProbeResult

COLUMNS = {
    "accuracy": "accuracy",
    "accuracy_low": "accuracy_low",
    "accuracy_high": "accuracy_high",
    "selectivity": "selectivity",
    "control": "control_accuracy",
    "shuffled": "shuffled_accuracy",
    "random": "random_model_accuracy",
    "loss": "log_loss",
    "bits": "code_length",
}
"""Columns of the table, and the values they show."""
EMBEDDING, MAJORITY = "embedding", "majority"


def layers_and_baselines(result: ProbeResult, site: str, position: str) -> pd.DataFrame:
    """One row a layer, then the token embedding alone and the majority class, in the columns of COLUMNS."""
    values = result.values
    here = {name: values[of].sel(site=site, position=position).data.tolist() for name, of in COLUMNS.items()}
    frame = pd.DataFrame({"layer": list(values["accuracy"].axis("layer").labels), **here})

    def alone(name: str) -> float:
        return float(values[f"embedding_{name}"].sel(position=position).data)

    embedding = {"layer": EMBEDDING, "accuracy": alone("accuracy"), "control": alone("control_accuracy")}
    embedding |= {end: alone(end) for end in ("accuracy_low", "accuracy_high")}
    embedding |= {"selectivity": alone("accuracy") - alone("control_accuracy")}
    embedding |= {"loss": alone("log_loss"), "bits": alone("code_length")}
    most: dict[str, Any] = {"layer": MAJORITY, "accuracy": float(values["majority_accuracy"].data)}
    most["loss"] = float(values["majority_log_loss"].data)
    rows = [{name: row.get(name, math.nan) for name in frame.columns} for row in (embedding, most)]
    return pd.concat([frame.astype({"layer": object}), pd.DataFrame(rows)], ignore_index=True)


def legend(result: ProbeResult) -> str:
    """What the columns of the table are."""
    uniform = math.log2(len(result.classes))
    return (
        "selectivity: accuracy less that on the control task, which gives every word type a random class; shuffled: "
        "accuracy after training on shuffled labels; random: accuracy on the same model with random weights; loss: "
        "held-out log-loss in nats an example; bits: description length of the labels in bits an example, of which a "
        f"uniform code takes {uniform:.3g}; embedding: the same probe of the token embedding alone."
    )


def finding(result: ProbeResult, site: str, position: str) -> str:
    """The best layer with its accuracy and selectivity, beside what needs no trained layer, in two sentences."""
    values, layer = result.values, result.best_layer(site=site, position=position)
    place = {"site": site, "position": position}

    def at(name: str) -> float:
        return float(values[name].sel(**place, layer=layer).data)

    n, n_layers = len(values["correct"].axis("example").labels), len(values["accuracy"].axis("layer").labels)
    probe, where = str(result.settings["probe"]).replace("_", " "), "" if position == "token" else f" at {position!r}"
    by = f", which has the least log-loss of {n_layers}," if n_layers > 1 else ""
    name = str(result.provenance.task["name"]).replace("_", " ")
    told = (
        f"{name[:1].upper()}{name[1:]}: in layer {layer}{by} a {probe} probe of {site}{where} reads the class of "
        f"{_share(at('accuracy'))} of {n} "
        f"held-out examples{_interval(at('accuracy_low'), at('accuracy_high'))}"
    )
    if not math.isnan(at("selectivity")):
        told += f"; selectivity {_points(at('selectivity'))}"
        told += _interval(at("selectivity_low"), at("selectivity_high"))
    random = values["random_model_accuracy"].sel(**place).data
    most = f" (at best {_share(float(random.max()))})" if float(random.max()) > at("random_model_accuracy") else ""
    embedding = float(values["embedding_accuracy"].sel(position=position).data)
    majority = float(values["majority_accuracy"].data)
    verdict = ""
    if at("accuracy_low") <= majority:
        verdict = ", above which the probe is not shown to be"
    elif at("accuracy_low") <= embedding:
        verdict = ": the layer is not shown to hold more of it than the embedding does"
    return (
        f"{told}. The token embedding alone gives {_share(embedding)}, the same layer with random weights "
        f"{_share(at('random_model_accuracy'))}{most}, the majority class "
        f"{_share(majority)}{verdict}."
    )


def _share(value: float) -> str:
    return f"{100 * value:.3g} %"


def _points(value: float) -> str:
    return f"{100 * value:.2g} points".replace("-", "−")


def _interval(low: float, high: float) -> str:
    return "" if math.isnan(low) or math.isnan(high) else f" [{100 * low:.3g}, {100 * high:.3g}]".replace("-", "−")
