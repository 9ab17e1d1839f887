"""The published experiments as functions: each asks its questions in order and tells the answers in a report."""

from __future__ import annotations

import importlib
from typing import Any

_NAMES = {
    "Experiment": "experiment",
    "InductionSettings": "induction_heads",
    "PhaseChangeSettings": "phase_change",
    "phase_change_of_revisions": "phase_change",
    "run_ioi": "indirect_object_identification",
    "run_induction": "induction_heads",
    "run_phase_change": "phase_change",
}
__all__ = [
    "Experiment",
    "InductionSettings",
    "PhaseChangeSettings",
    "phase_change_of_revisions",
    "run_induction",
    "run_ioi",
    "run_phase_change",
]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(f"interp.reproduce.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'interp.reproduce' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
