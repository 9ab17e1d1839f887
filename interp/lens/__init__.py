"""What a model would predict from the middle of itself, and which of its parts write the prediction.

>>> interp.lens.logit_lens(model, "When Mary and John went to the store, John gave a drink to", targets=[" Mary"])
>>> interp.lens.direct_attribution(model, task, by="head").top(5)
>>> lens = interp.lens.train_tuned_lens(model, interp.tasks.english_documents())
>>> interp.lens.trajectory(model, "The capital of France is", lens)
>>> interp.lens.patchscope(model, "The Eiffel Tower").descriptions()
"""

from __future__ import annotations

import importlib
from typing import Any

_NAMES = {
    "Attribution": "attribution",
    "direct_attribution": "attribution",
    "LogitLens": "layerwise",
    "logit_lens": "layerwise",
    "Look": "looking",
    "look": "looking",
    "TunedLens": "translators",
    "LensTraining": "tuned_training",
    "train_tuned_lens": "tuned_training",
    "TunedLensCurve": "tuned_curves",
    "learning_curve": "tuned_curves",
    "TunedLensReading": "tuned_reading",
    "tuned_lens": "tuned_reading",
    "TunedLensEvaluation": "tuned_evaluation",
    "evaluate_tuned_lens": "tuned_evaluation",
    "tuned_lens_findings": "tuned_findings",
    "export_tuned_lens": "tuned_exports",
    "CausalBasis": "tuned_causes",
    "causal_basis": "tuned_causes",
    "split_documents": "tuned_texts",
    "Trajectory": "trajectories",
    "trajectory": "trajectories",
    "Patchscope": "patchscopes",
    "patchscope": "patchscopes",
    "PatchscopePrecision": "patchscope_scores",
    "patchscope_precision": "patchscope_scores",
}
__all__ = [
    "Attribution",
    "CausalBasis",
    "LensTraining",
    "LogitLens",
    "Look",
    "Patchscope",
    "PatchscopePrecision",
    "Trajectory",
    "TunedLens",
    "TunedLensCurve",
    "TunedLensEvaluation",
    "TunedLensReading",
    "causal_basis",
    "direct_attribution",
    "evaluate_tuned_lens",
    "export_tuned_lens",
    "learning_curve",
    "logit_lens",
    "look",
    "patchscope",
    "patchscope_precision",
    "split_documents",
    "train_tuned_lens",
    "trajectory",
    "tuned_lens",
    "tuned_lens_findings",
]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(f"interp.lens.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'interp.lens' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
