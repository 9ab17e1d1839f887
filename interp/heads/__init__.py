"""What attention heads attend to and what they do with it.

What they attend to: stripe scores, prefix matching, the patterns. What they write: copying scores, of random tokens and
of names. What their weights say: eigenvalue and composition scores, and what `matrices` holds, MLPs included: spectra,
singular directions as words, virtual weights, the graph of heads that compose, Hinton diagrams, weights with the inputs
they really get. What hangs on them: the loss that repetition saves,
the in-context learning score, and what becomes of both when heads are knocked out.

>>> scores = interp.heads.scores(model)
>>> scores.sel(kind="induction").top(5)
>>> interp.heads.patterns(model, "When Mary and John went to the store", heads=["18.6", "16.0"]).figure()
"""

from __future__ import annotations

import importlib
from typing import Any

_NAMES = {
    "AttentionPatterns": "attention",
    "CompositionGraph": "matrices.composition_graphs",
    "CompositionScores": "composition",
    "CopyingScores": "copying",
    "EigenvalueScores": "eigenvalues",
    "HintonDiagram": "matrices.diagrams",
    "InContextScore": "in_context",
    "KnockOut": "knocking_out",
    "NameCopying": "copying",
    "SingularDirections": "matrices.singular",
    "Spectra": "matrices.spectra",
    "VirtualWeights": "matrices.virtual",
    "WeightsInContext": "matrices.in_use",
    "composition_graph": "matrices.composition_graphs",
    "composition_scores": "composition",
    "copying_scores": "copying",
    "decompose": "matrices.spectra",
    "eigenvalue_scores": "eigenvalues",
    "hinton": "matrices.diagrams",
    "in_context_score": "in_context",
    "knock_out": "knocking_out",
    "name_copying": "copying",
    "patterns": "attention",
    "RepeatedLoss": "repetition",
    "repeated_loss": "repetition",
    "HeadScores": "stripes",
    "scores": "stripes",
    "prefix_matching": "prefixes",
    "singular_directions": "matrices.singular",
    "virtual_weights": "matrices.virtual",
    "weights_in_context": "matrices.in_use",
}
__all__ = [
    "AttentionPatterns",
    "CompositionGraph",
    "CompositionScores",
    "CopyingScores",
    "EigenvalueScores",
    "HeadScores",
    "HintonDiagram",
    "InContextScore",
    "KnockOut",
    "NameCopying",
    "RepeatedLoss",
    "SingularDirections",
    "Spectra",
    "VirtualWeights",
    "WeightsInContext",
    "composition_graph",
    "composition_scores",
    "copying_scores",
    "decompose",
    "eigenvalue_scores",
    "hinton",
    "in_context_score",
    "knock_out",
    "name_copying",
    "patterns",
    "prefix_matching",
    "repeated_loss",
    "scores",
    "singular_directions",
    "virtual_weights",
    "weights_in_context",
]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(f"interp.heads.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'interp.heads' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
