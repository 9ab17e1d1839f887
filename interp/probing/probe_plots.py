"""The figures of a probe: lines over layers, with the controls in the same picture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from interp.probing.labelled import TOKEN, LabelledTokens
from interp.results import Plot, Values, interval_words, range_words

CURVES = {
    "accuracy": {
        "task": "accuracy",
        "control task": "control_accuracy",
        "shuffled labels": "shuffled_accuracy",
        "random weights": "random_model_accuracy",
    },
    "log-loss": {"task": "log_loss", "random weights": "random_model_log_loss"},
    "description length": {
        "task": "code_length",
        "control task": "control_code_length",
        "random weights": "random_model_code_length",
    },
}
"""Lines of each figure, by the values they show."""
CAVEAT = (
    "What a probe reads is there to be read; whether the model uses it is another question, which only interventions "
    "answer. The intervals are over tests, not over new draws of the training data."
)

EXACT = " (where every example is right, the exact lower end for groups without a mistake)"


def curve_name(what: str, kind: object, position: object) -> str:
    """Name of the values that a figure draws."""
    place = "" if position == TOKEN else f" at {position}"
    return f"{what}: {kind}{place}"


def plots_of(
    values: Mapping[str, Values], settings: Mapping[str, Any], data: LabelledTokens, n_groups: int, has_control: bool
) -> tuple[Plot, ...]:
    """Accuracy, log-loss and description length for every kind of site and position, then accuracy by class."""
    plots = []
    task, probe = data.name.replace("_", " "), str(settings["probe"]).replace("_", " ")
    shuffles = range_words(int(settings["n_shuffles"])) if settings["n_shuffles"] else "none were made"
    exact = EXACT if _perfect(values) else ""
    missing = "" if has_control else f" There is {settings['control']}."
    for kind in settings["sites"]:
        for position in data.positions:
            place = "" if position == TOKEN else f" at {position}"
            for what in CURVES:
                name = curve_name(what, kind, position)
                bands = "bands" if len(values[name].axis("layer")) > 1 else "bars"  # of a single layer
                over = interval_words(n_groups, f"{settings['group_is']}s", f"{bands}: 95 % intervals")
                low, high = (f"{name}_{end}" if f"{name}_{end}" in values else None for end in ("low", "high"))
                plots.append(
                    Plot(
                        "lines",
                        name,
                        x="layer",
                        series="curve",
                        low=low,
                        high=high,
                        title=f"{task}: {what} of a {probe} probe of {kind}{place}",
                        caption=_captions(what, len(data), shuffles, over, exact) + missing,
                        caveat=CAVEAT if what == "accuracy" else "",
                        options={
                            "references": _references(what, values, position, len(data.classes)),
                            "y_label": _axis(what),
                        },
                    )
                )
    if len(data.classes) > 2 and len(settings["sites"]) == 1 and len(data.positions) == 1:
        plots.append(
            Plot(
                "heatmap",
                "class_accuracy",
                x="layer",
                y="class",
                title=f"{task}: share of each class that is recognised",
                caption="Held-out examples of each class for which the probe names the class.",
                options={"colour_label": "share", "colour_range": [0, 1]},
            )
        )
    return tuple(plots)


def _perfect(values: Mapping[str, Values]) -> bool:
    """Whether some accuracy is 1, where no resample differs from it."""
    return any(bool((values[name].data == 1).any()) for name in CURVES["accuracy"].values())


def _captions(what: str, n: int, shuffles: str, over: str, exact: str) -> str:
    if what == "accuracy":
        return (
            f"Share of {n} held-out examples that the probe classifies correctly, on the task, on a control task that "
            f"gives every word type a random class, after training on shuffled labels ({shuffles}), and "
            f"on the model with random weights; {over}{exact}."
        )
    if what == "log-loss":
        return f"Mean cross-entropy on {n} held-out examples; {over}."
    return (
        "Bits an example that the labels take when sent with probes learnt from what was sent before (online coding); "
        "less is easier to learn, not only possible to learn."
    )


def _references(what: str, values: Mapping[str, Values], position: str, n_classes: int) -> dict[str, float]:
    embedding, majority = "embedding alone", "majority class"
    if what == "accuracy":
        return {
            embedding: float(values["embedding_accuracy"].sel(position=position).data),
            majority: float(values["majority_accuracy"].data),
        }
    if what == "log-loss":
        return {
            embedding: float(values["embedding_log_loss"].sel(position=position).data),
            "no features": float(values["majority_log_loss"].data),
        }
    return {
        embedding: float(values["embedding_code_length"].sel(position=position).data),
        "uniform code": math.log2(n_classes),
    }


def _axis(what: str) -> str:
    return {"accuracy": "accuracy", "log-loss": "nats an example", "description length": "bits an example"}[what]
