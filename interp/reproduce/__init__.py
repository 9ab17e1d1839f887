"""The published experiments as functions: each asks its questions in order and tells the answers in a report."""

from __future__ import annotations

import importlib
from typing import Any

_NAMES = {
    "Experiment": "experiment",
    "run_ioi": "indirect_object_identification",
    "run_induction": "induction_heads",
}
__all__ = ["Experiment", "run_induction", "run_ioi"]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(f"interp.reproduce.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'interp.reproduce' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
