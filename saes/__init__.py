"""Sparse dictionaries: training, evaluation, and use inside a model.

>>> import saes
>>> run = saes.fit(saes.TopK(d_in=576, d_sae=9216, k=32), activations, n_tokens=1_000_000, batch_size=4096, seed=0)
>>> run.dictionary.encode(activations[:8])
"""

from __future__ import annotations

import importlib
from typing import Any

# Where each public name lives. Nothing is imported until it is asked for.
_NAMES = {
    "BatchTopK": "saes.architectures",
    "Dictionary": "saes.architectures",
    "EngineSettings": "saes.training.engine",
    "FitSettings": "saes.training.settings",
    "Harvest": "saes.activations.reading",
    "JumpReLU": "saes.architectures",
    "KnownFeatures": "saes.evals.known_features",
    "Matryoshka": "saes.architectures",
    "Schedule": "saes.training.schedules",
    "Standard": "saes.architectures",
    "Texts": "saes.activations.texts",
    "TopK": "saes.architectures",
    "TrainConfig": "saes.training.config",
    "TrainingRun": "saes.training.training_run",
    "evaluate": "saes.evals.evaluating",
    "fit": "saes.training.fitting",
    "load": "saes.loading",
    "open_shards": "saes.activations.shard_streams",
    "read_config": "saes.training.config",
    "train": "saes.training.training",
    "write_shards": "saes.activations.shard_writing",
}
_ROOMS = ("activations", "architectures", "evals", "formats", "kernels", "training")


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    if name in _ROOMS:
        return importlib.import_module(f"saes.{name}")
    raise AttributeError(f"module 'saes' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*_NAMES, *_ROOMS])
