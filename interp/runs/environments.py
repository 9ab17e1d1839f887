"""The environment an answer was computed in, as plain data."""

from __future__ import annotations

import functools
import json
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = (
    "interp-workbench",
    "torch",
    "transformer-lens",
    "transformers",
    "tokenizers",
    "safetensors",
    "datasets",
    "numpy",
    "scikit-learn",
    "plotly",
    "circuitsvis",
    "gguf",
)


def environment(device: object = None) -> dict[str, Any]:
    """Python, platform, package versions, code commit, torch threads, and the device with its name.

    `device` is a torch device or its text; None means that no device was chosen. The commit is that of this package's
    source ("+changes" when it was edited since), or "unknown" for an installation without one.
    """
    import torch  # here: listing runs must not wait for it

    return {
        "python": platform.python_version(),
        # Enough to reproduce; results are published, and a kernel's build names somebody's machine.
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": _packages(),
        "commit": code_commit(),
        "threads": torch.get_num_threads(),
        "device": "unknown" if device is None else str(device),
        "device_name": _device_name(device),
    }


@functools.cache
def code_commit() -> str:
    """The commit of this package's source, "<hash>+changes" when the files differ from it, or "unknown"."""
    package = Path(__file__).resolve().parents[1]
    # A package installed inside somebody's repository is not part of it: ask whether git knows this very file.
    if _git(package, "ls-files", "--error-unmatch", "runs/environments.py") is None:
        return _installed_commit()
    commit = _git(package, "rev-parse", "HEAD")
    if commit is None:
        return "unknown"
    edited = _git(package, "status", "--porcelain", "--untracked-files=no", "--", ".")
    return f"{commit}+changes" if edited else commit


def _git(directory: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(directory), *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _installed_commit() -> str:
    """The commit that pip noted when it installed from a repository."""
    try:
        text = metadata.distribution("interp-workbench").read_text("direct_url.json")
        return json.loads(text or "{}")["vcs_info"]["commit_id"]
    except (metadata.PackageNotFoundError, json.JSONDecodeError, KeyError, TypeError):
        return "unknown"


@functools.cache
def _versions() -> tuple[tuple[str, str], ...]:
    found = []
    for name in _PACKAGES:
        try:
            found.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            continue
    return tuple(found)


def _packages() -> dict[str, str]:
    return dict(_versions())


def _device_name(device: object) -> str:
    import torch

    if str(device).startswith("cuda") and torch.cuda.is_available():
        return torch.cuda.get_device_name(torch.device(str(device)))
    return ""
