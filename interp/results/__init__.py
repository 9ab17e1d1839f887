"""What an answer is: named values on named axes, exact settings, provenance, and a description of its plots.

Imports no room. Everything public is named here; the modules behind it are read when first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interp.results.axes import Axis, Values
    from interp.results.intervals import (
        FEWEST,
        bootstrap_interval,
        interval_words,
        mean_with_interval,
        range_of_draws,
        range_words,
    )
    from interp.results.plain import JSON
    from interp.results.plots import Plot
    from interp.results.result import KINDS, Provenance, Result, load

_HOMES = {
    "JSON": "plain",
    "Axis": "axes",
    "Values": "axes",
    "Plot": "plots",
    "KINDS": "result",
    "Provenance": "result",
    "Result": "result",
    "load": "result",
    "bootstrap_interval": "intervals",
    "FEWEST": "intervals",
    "interval_words": "intervals",
    "mean_with_interval": "intervals",
    "range_of_draws": "intervals",
    "range_words": "intervals",
}

__all__ = [
    "FEWEST",
    "JSON",
    "KINDS",
    "Axis",
    "Plot",
    "Provenance",
    "Result",
    "Values",
    "bootstrap_interval",
    "interval_words",
    "load",
    "mean_with_interval",
    "range_of_draws",
    "range_words",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"interp.results.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'interp.results' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
