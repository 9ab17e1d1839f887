from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from interp.results import Axis, Provenance, Result, Values

REPOSITORY = Path(__file__).parents[2]


def make_result(shift: float = 0.0, n: int = 3) -> Result:
    values = {
        "effect": Values(torch.arange(float(n)) + shift, (Axis("layer", tuple(range(n))),), unit="logit difference"),
        "loss": Values(torch.tensor(1.5 + shift), (), unit="nats"),
    }
    return Result(values=values, settings={}, provenance=Provenance({}, {}, 0, {}, "", ""))


@pytest.fixture
def start() -> Callable[..., subprocess.Popen[str]]:
    """Start a Python program in a process of its own; it is killed when the test ends."""
    started: list[subprocess.Popen[str]] = []

    def run(program: str, *arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", program, *(str(a) for a in arguments)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen(command, cwd=REPOSITORY, text=True, **pipes))  # type: ignore[call-overload]
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()
