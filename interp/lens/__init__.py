"""What a model would predict from the middle of itself, and which of its parts write the prediction.

>>> interp.lens.logit_lens(model, "When Mary and John went to the store, John gave a drink to", targets=[" Mary"])
>>> interp.lens.direct_attribution(model, task, by="head").top(5)
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
}
__all__ = ["Attribution", "LogitLens", "Look", "direct_attribution", "logit_lens", "look"]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(f"interp.lens.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'interp.lens' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
