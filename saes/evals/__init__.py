"""How good a dictionary is: what it keeps of activations, what a model makes of them, which latents work.

Every number of a model's activations is from tokens of documents that no dictionary was trained on, attention sinks and
first tokens left out. `synthetic` needs no model: it asks which of known features dictionaries find.
"""

from __future__ import annotations

import importlib
from typing import Any

_NAMES = {
    "DictionaryEvaluation": "saes.evals.evaluating",
    "KnownFeatures": "saes.evals.known_features",
    "SyntheticEvaluation": "saes.evals.synthetic_benchmark",
    "evaluate": "saes.evals.evaluating",
    "recovery": "saes.evals.feature_recovery",
    "synthetic": "saes.evals.synthetic_benchmark",
}


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'saes.evals' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(_NAMES)
