"""What can be read from activations, and what from nothing: probes of all layers at once, with their controls.

>>> result = interp.probing.fit(model, "pos")  # or interp.probing.from_jsonl(model, "labels.jsonl")
>>> result.figure()  # accuracy by layer beside control task, shuffled labels, random weights, embedding
>>> result.direction(layer=12, label="NOUN")

Does the model use it?

>>> interp.probing.amnesic(model, "number")  # answers after erasure (LEACE, INLP), beside random directions
>>> interp.probing.steer_along(model, "number")  # towards the other class; interp.probing.align: exchange a subspace
"""

from __future__ import annotations

import importlib
from typing import Any

_NAMES = {
    "Answers": "causal.answers",
    "DATASETS": "datasets.catalogue",
    "LabelledTokens": "labelled",
    "ProbeResult": "probe_result",
    "Question": "causal.preparing",
    "align": "causal.alignment",
    "amnesic": "causal.amnesia",
    "check": "fitting",
    "dataset": "datasets.catalogue",
    "erase": "causal.erasing",
    "fit": "fitting",
    "from_jsonl": "datasets.labelled_files",
    "labelled_tokens": "labelled",
    "steer_along": "causal.steering",
    "without_duplicates": "splitting",
}
__all__ = [
    "DATASETS",
    "Answers",
    "LabelledTokens",
    "ProbeResult",
    "Question",
    "align",
    "amnesic",
    "check",
    "dataset",
    "erase",
    "fit",
    "from_jsonl",
    "labelled_tokens",
    "steer_along",
    "without_duplicates",
]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(f"interp.probing.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'interp.probing' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
