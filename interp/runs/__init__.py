"""What must survive: run directories, atomic files, locks, progress, and where an answer came from.

Everything public is named here; the modules behind it are read when first asked for, so that listing runs is instant.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interp.runs.comparing import RunDiff, diff_runs
    from interp.runs.environments import environment
    from interp.runs.listing import RunSummary, find_run, list_runs, show_run
    from interp.runs.locks import lock
    from interp.runs.paths import atomic_directory, atomic_write, cache_dir
    from interp.runs.progress_bars import progress
    from interp.runs.recording import provenance
    from interp.runs.run import Run, open_run

_HOMES = {
    "RunDiff": "comparing",
    "diff_runs": "comparing",
    "environment": "environments",
    "RunSummary": "listing",
    "find_run": "listing",
    "list_runs": "listing",
    "show_run": "listing",
    "lock": "locks",
    "atomic_directory": "paths",
    "atomic_write": "paths",
    "cache_dir": "paths",
    "progress": "progress_bars",
    "provenance": "recording",
    "Run": "run",
    "open_run": "run",
}

__all__ = [
    "Run",
    "RunDiff",
    "RunSummary",
    "atomic_directory",
    "atomic_write",
    "cache_dir",
    "diff_runs",
    "environment",
    "find_run",
    "list_runs",
    "lock",
    "open_run",
    "progress",
    "provenance",
    "show_run",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"interp.runs.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'interp.runs' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
