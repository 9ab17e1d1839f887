"""Circuits: which parts of a model suffice for a behaviour, and how well that claim stands up."""

from __future__ import annotations

import importlib
from typing import Any

_NAMES = {
    "Graph": "graph",
    "Circuit": "circuit",
}
__all__ = ["Circuit", "Graph"]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(f"interp.circuits.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'interp.circuits' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
