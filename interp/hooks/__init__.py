"""Reading and writing the activations of a model: `sites`, `capture`, `intervene`, and running part of a model."""

from __future__ import annotations

import importlib
from typing import Any

_NAMES = {
    "Site": "sites",
    "LatentSite": "latents",
    "Codec": "latents",
    "Readout": "readout",
    "PromptTokens": "prompts",
    "prompt_tokens": "prompts",
    "Activations": "capturing",
    "capture": "capturing",
    "intervene": "intervening",
}
__all__ = ["Activations", "Codec", "LatentSite", "PromptTokens", "Readout", "Site", "capture", "intervene"]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(f"interp.hooks.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'interp.hooks' has no attribute {name!r}")
