"""Where models come from: the hub, a directory, a wheel, an object, or built by hand with a known circuit (`toy`)."""

from __future__ import annotations

import importlib
from typing import Any

_NAMES = {
    "load_model": "load",
    "identity": "identifying",
    "resolve_device": "device",
    "to_tokens": "tokens",
    "to_strings": "tokens",
    "single_token": "tokens",
}
__all__ = ["identity", "load_model", "resolve_device", "single_token", "to_strings", "to_tokens"]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(f"interp.models.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'interp.models' has no attribute {name!r}")
