"""Hand-built models whose circuits are known exactly, one a file. Loaded as `load_model("toy/<name>")`.

Every file has `build() -> TransformerBridge`, `pairs(n, seed) -> (clean, corrupt, answers, distractors)` and `TRUTH`,
which the text of the file derives and tests hold against brute force. Toys are small, have no tokenizer and no
normalisation, and prompts of a set have the same length.
"""

from __future__ import annotations

import importlib
from types import MappingProxyType, ModuleType

from interp.errors import unknown

TOYS = MappingProxyType(
    {
        "toy/induction": "two attention-only layers; 5 of 29 edges are an induction circuit",
        "toy/linear": "linear residual model with MLPs; the effect of each of 46 edges in closed form",
        "toy/and": "a gate that needs both inputs; denoising one input edge shows nothing",
        "toy/or": "a gate that needs either input; noising one input edge shows nothing",
        "toy/backup": "a head that takes over when another falls silent; part of the circuit shows in no direction",
        "toy/negative": "a head that suppresses what an earlier one predicts, through saturated attention",
        "toy/cancelling": "two heads with large opposite effects beside the one that gives the answer",
        "toy/two_circuits": "four layers, 105 edges; induction and a relay give one answer independently",
    }
)
"""What can be built, by the name that `load_model` takes."""

COMPILED = MappingProxyType({"toy/tracr_reverse": "a program compiled into weights; needs the extra tracr"})
"""What can be built where the package tracr-pypi is installed."""

_FILES = {"and": "and_gate", "or": "or_gate"}  # words of the language cannot be imported


def toy_module(name: str) -> ModuleType:
    """The file of a toy (`build`, `pairs`, `TRUTH`), by its name with or without `toy/`; unknown names are refused."""
    full = name if name.startswith("toy/") else f"toy/{name}"
    if full not in TOYS and full not in COMPILED:
        raise unknown("toy model", full, (*TOYS, *COMPILED))
    file = full.removeprefix("toy/")
    return importlib.import_module(f"interp.models.toy.{_FILES.get(file, file)}")
