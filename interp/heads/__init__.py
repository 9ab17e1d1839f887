"""What attention heads attend to: stripe scores, prefix matching, the loss that repetition saves, and the patterns.

>>> scores = interp.heads.scores(model)
>>> scores.sel(kind="induction").top(5)
>>> interp.heads.patterns(model, "When Mary and John went to the store", heads=["18.6", "16.0"]).figure()
"""

from __future__ import annotations

import importlib
from typing import Any

_NAMES = {
    "AttentionPatterns": "attention",
    "patterns": "attention",
    "RepeatedLoss": "repetition",
    "repeated_loss": "repetition",
    "HeadScores": "stripes",
    "scores": "stripes",
    "prefix_matching": "prefixes",
}
__all__ = [
    "AttentionPatterns",
    "HeadScores",
    "RepeatedLoss",
    "patterns",
    "prefix_matching",
    "repeated_loss",
    "scores",
]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(f"interp.heads.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'interp.heads' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
