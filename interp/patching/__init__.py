"""Activation patching: which activations, moved from one run into another, move the answer."""

from __future__ import annotations

import importlib
from typing import Any

_NAMES = {
    "sweep": "sweeps",
    "PatchingResult": "outcome",
    "path_effects": "paths",
    "PathResult": "paths",
    "node_attribution": "node_attributions",
    "NodeAttribution": "node_attributions",
    "compare_with_exact": "estimate_checks",
    "EstimateCheck": "estimate_checks",
}
__all__ = [
    "EstimateCheck",
    "NodeAttribution",
    "PatchingResult",
    "PathResult",
    "compare_with_exact",
    "node_attribution",
    "path_effects",
    "sweep",
]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(f"interp.patching.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'interp.patching' has no attribute {name!r}")
