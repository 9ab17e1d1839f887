"""Judging circuits: faithfulness over sizes, controls, and tests that can say no. One test a file."""

from __future__ import annotations

import importlib
from typing import Any

_NAMES = {
    "evaluate": "evaluating",
    "CircuitReport": "circuit_report",
    "finding": "findings",
    "what_it_cannot_say": "findings",
    "Judge": "judging",
    "Measured": "judging",
    "areas": "faithfulness",
    "curve_sizes": "faithfulness",
    "random_circuits": "sampling",
    "layer_histogram": "sampling",
    "inflated": "sampling",
    "Outcome": "hypotheses",
    "equivalence_test": "equivalence",
    "independence_test": "independence",
    "minimality_test": "minimality",
    "node_knockouts": "minimality",
    "sufficiency_test": "sufficiency",
    "random_p_value": "sufficiency",
    "partial_necessity_test": "partial_necessity",
    "knock_out_sets": "completeness",
    "bootstrap_jaccard": "stability",
    "auroc": "known_circuits",
    "edge_auroc": "known_circuits",
    "node_auroc": "known_circuits",
    "overlap": "known_circuits",
    "rank_correlation": "known_circuits",
}
__all__ = sorted(_NAMES)


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(f"interp.circuits.evaluation.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'interp.circuits.evaluation' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
