"""Circuits: which parts of a model suffice for a behaviour, and how well that claim stands up."""

from __future__ import annotations

import importlib
from typing import Any

_NAMES = {
    "HeadCircuit": "head_circuits",
    "GroupMeans": "head_level.reference_means",
    "group_means": "head_level.reference_means",
    "HeadFaithfulness": "head_level.faithfulness",
    "head_faithfulness": "head_level.faithfulness",
    "HeadKnockOuts": "head_level.knock_outs",
    "head_knock_outs": "head_level.knock_outs",
    "HeadCompleteness": "head_level.completeness",
    "head_completeness": "head_level.completeness",
    "HeadMinimality": "head_level.minimality",
    "head_minimality": "head_level.minimality",
}
__all__ = [
    "GroupMeans",
    "HeadCircuit",
    "HeadCompleteness",
    "HeadFaithfulness",
    "HeadKnockOuts",
    "HeadMinimality",
    "group_means",
    "head_completeness",
    "head_faithfulness",
    "head_knock_outs",
    "head_minimality",
]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(f"interp.circuits.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'interp.circuits' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
