"""Superposition in toy models (Elhage et al. 2022): more features than dimensions, when features are sparse.

Linear and ReLU output models, models with a ReLU hidden layer, and models that compute |x|, trained by the hundreds in
one batch; phase diagrams beside closed forms, the shapes feature vectors form, correlated features.

>>> found = interp.superposition.train(n_features=5, n_hidden=2, sparsity=[0, 0.8, 0.9], importance=0.9)
>>> found.table(), found.figure()
>>> interp.superposition.dimensionality(found.weights(sparsity=0.9))
>>> interp.superposition.phase_diagram(2).figure()
"""

from __future__ import annotations

import importlib
from typing import Any

_NAMES = {
    "AbsoluteValues": "computing",
    "CorrelatedFeatures": "correlations",
    "FeatureGeometry": "plateaus",
    "PhaseDiagram": "phases",
    "PrivilegedBasis": "neurons",
    "Schedule": "optimising",
    "ShapeCounts": "shapes",
    "ToyModels": "toy_models",
    "absolute_values": "computing",
    "correlated_features": "correlations",
    "dimensionality": "feature_vectors",
    "dimensions_per_feature": "feature_vectors",
    "feature_geometry": "plateaus",
    "gram": "feature_vectors",
    "importance_sweep": "toy_models",
    "interference": "feature_vectors",
    "phase_diagram": "phases",
    "polytopes": "polytope_groups",
    "privileged_basis": "neurons",
    "shape_counts": "shapes",
    "shape_of": "polytope_groups",
    "train": "toy_models",
}
__all__ = sorted(_NAMES)


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(f"interp.superposition.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'interp.superposition' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
