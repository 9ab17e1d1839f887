"""A research workbench for mechanistic interpretability of transformer language models.

>>> import interp
>>> model = interp.load_model("smollm2-135m")
>>> task = interp.tasks.ioi(model, n=16)
>>> interp.patching.sweep(model, task, over="z", by=("layer", "head")).top(5)
"""

from __future__ import annotations

import importlib
from typing import Any

# Where each public name lives. Nothing is imported until it is asked for, so that `import interp` is instant.
_ROOMS = (
    "circuits",
    "heads",
    "hooks",
    "lens",
    "models",
    "patching",
    "probing",
    "reproduce",
    "results",
    "runs",
    "similarity",
    "superposition",
    "tasks",
    "viz",
)
_NAMES = {
    "InputError": "interp.errors",
    "load_model": "interp.models.load",
    "capture": "interp.hooks.capturing",
    "intervene": "interp.hooks.intervening",
    "ablate": "interp.hooks.interventions",
    "add_noise": "interp.hooks.interventions",
    "freeze": "interp.hooks.interventions",
    "knock_out_attention": "interp.hooks.interventions",
    "patch": "interp.hooks.interventions",
    "project_out": "interp.hooks.interventions",
    "scale": "interp.hooks.interventions",
    "steer": "interp.hooks.interventions",
    "LatentSite": "interp.hooks.latents",
    "look": "interp.lens.looking",
}


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    if name == "sites":
        return importlib.import_module("interp.hooks.sites")
    if name in _ROOMS:
        return importlib.import_module(f"interp.{name}")
    raise AttributeError(f"module 'interp' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*_NAMES, *_ROOMS, "sites"])
