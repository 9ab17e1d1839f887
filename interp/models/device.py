"""Choosing the device a model runs on."""

from __future__ import annotations

import functools
import logging
import os
import shutil
from pathlib import Path

import torch

from interp.errors import InputError

_LOG = logging.getLogger("interp")


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """The device meant by `device`; "auto" is CUDA where it works, else the CPU.

    Apple's MPS is taken by "auto" only where TRANSFORMERLENS_ALLOW_MPS=1 is set: TransformerLens knows of wrong numbers
    on it. When an NVIDIA device is there but CUDA is not usable, "auto" warns once. Raises InputError for a device
    that does not exist here.
    """
    if str(device) == "auto":
        return torch.device(_best())
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise InputError(f"there is no device {device!r}; use auto, cpu, cuda, cuda:1 or mps") from error
    usable = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not usable.get(chosen.type, True):
        raise InputError(f"device {device!s} was asked for but is not usable here ({_reason()}); use auto or cpu")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise InputError(f"device {device!s} was asked for but there are {torch.cuda.device_count()} CUDA devices")
    return chosen


def _best() -> str:
    if torch.cuda.is_available():
        return "cuda"
    if torch.backends.mps.is_available() and os.environ.get("TRANSFORMERLENS_ALLOW_MPS") == "1":
        return "mps"
    if _nvidia_present():
        _warn_once()
    return "cpu"


def _nvidia_present() -> bool:
    return Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi") is not None


@functools.cache
def _warn_once() -> None:
    _LOG.warning("an NVIDIA device is here but CUDA is not usable (%s); running on the CPU", _reason())


def _reason() -> str:
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA"
    return f"torch {torch.__version__} needs a driver for CUDA {torch.version.cuda} and a visible device"
