"""Which tests can run here: those marked `hub` need the Hugging Face hub, `gpu` a CUDA device, `browser` Chromium."""

from __future__ import annotations

import functools
import os

import pytest
import torch
from huggingface_hub import constants, get_session

from interp.errors import InputError
from interp.viz import find_browser


@functools.cache
def why_no_hub() -> str | None:
    """Why the hub cannot be used, or None when it can. Asks once, and only when a test needs it."""
    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    try:
        get_session().head(constants.ENDPOINT, timeout=5)
    except Exception as error:  # whatever goes wrong on the way means the same to the test
        return f"the Hugging Face hub cannot be reached ({type(error).__name__})"
    return None


def why_no_gpu() -> str | None:
    """Why no CUDA device can be used, or None when one can."""
    return None if torch.cuda.is_available() else "there is no usable CUDA device"


def why_no_browser() -> str | None:
    """Why no page can be looked at, or None when a browser is installed."""
    try:
        find_browser()
    except InputError as error:
        return str(error)
    return None


NEEDS = {"hub": why_no_hub, "gpu": why_no_gpu, "browser": why_no_browser}

N_THREADS = torch.get_num_threads()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, with the reason, what this machine cannot run; toy models get one thread, real ones all of them."""
    # Toy models are too small to share out, and on a busy machine threads that wait for each other take minutes.
    torch.set_num_threads(N_THREADS if item.get_closest_marker("slow") else 1)
    for marker, why_not in NEEDS.items():
        if item.get_closest_marker(marker) and (reason := why_not()):
            if marker == "browser" and os.environ.get("CI"):
                pytest.fail(f"CI has to look at the pages: {reason}")
            pytest.skip(reason)
