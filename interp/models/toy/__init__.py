"""Hand-built models whose circuits are known exactly, one a file. Loaded as `load_model("toy/<name>")`.

Every file has `build() -> TransformerBridge`, `pairs(n, seed) -> (clean, corrupt, answers, distractors)` and `TRUTH`.
They are small, have no tokenizer and no normalisation, and prompts of a set have the same length.
"""

from __future__ import annotations

import importlib
from types import MappingProxyType, ModuleType

from interp.errors import unknown

TOYS = MappingProxyType(
    {
        "toy/induction": "two attention-only layers; 5 of 29 edges are an induction circuit",
        "toy/linear": "linear residual model with MLPs; the effect of each of 46 edges in closed form",
    }
)
"""What can be built, by the name that `load_model` takes."""


def toy_module(name: str) -> ModuleType:
    """The file of a toy (`build`, `pairs`, `TRUTH`), by its name with or without `toy/`; unknown names are refused."""
    full = name if name.startswith("toy/") else f"toy/{name}"
    if full not in TOYS:
        raise unknown("toy model", full, TOYS)
    return importlib.import_module(f"interp.models.toy.{full.removeprefix('toy/')}")
