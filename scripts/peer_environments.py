"""Environments for libraries that cannot stand beside this one: each in a directory of its own, made when first needed.

SAELens refuses TransformerLens 4, and every library brings its own pins; what is compared with them runs in other
processes, with the same PyTorch.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import astuple, dataclass
from pathlib import Path

import torch

from interp.runs import cache_dir


@dataclass(frozen=True)
class Peer:
    """packages: what is installed. alone: without what it asks for, where that is old and not needed here."""

    packages: tuple[str, ...]
    alone: tuple[str, ...] = ()


PEERS = {
    "sae-lens": Peer(("sae-lens==6.54.*", "transformer-lens>=3,<4")),
    "sparsify": Peer(("eai-sparsify==1.3.3",)),
    "dictionary-learning": Peer(("einops", "tqdm", "numpy", "safetensors"), alone=("dictionary-learning==0.1.0",)),
}


class CannotRun(RuntimeError):
    """The peer's environment cannot be made or used here; the message says why."""


def environment(name: str, directory: Path | None = None) -> Path:
    """The Python of a peer's environment, which is made when it is not there. Raises CannotRun when it cannot be."""
    home = directory or cache_dir() / "peers" / name
    python, stamp, wanted = home / "bin" / "python", home / "installed.json", PEERS[name]
    told = json.dumps([torch.__version__, *astuple(wanted)])
    if python.is_file() and stamp.is_file() and stamp.read_text() == told:
        return python
    print(f"making an environment with {', '.join(wanted.packages + wanted.alone)} in {home}; this takes some minutes")
    sys.stdout.flush()
    try:
        shutil.rmtree(home, ignore_errors=True)
        home.parent.mkdir(parents=True, exist_ok=True)
        _install(home, python, wanted)
    except (OSError, subprocess.CalledProcessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        raise CannotRun(f"{name} cannot be installed: {said[-1] if said else error}") from error
    stamp.write_text(told)
    return python


def _install(home: Path, python: Path, wanted: Peer) -> None:
    uv = shutil.which("uv")
    _run([uv, "venv", "-q", str(home)] if uv else [sys.executable, "-m", "venv", str(home)])
    fill = [uv, "pip", "install", "-q", "--python", str(python)] if uv else [str(python), "-m", "pip", "install", "-q"]
    same = f"torch=={torch.__version__}"
    try:
        _run([*fill, same])
    except subprocess.CalledProcessError:  # a build for one kind of machine that the index does not have
        same = same.partition("+")[0]
        _run([*fill, same])
    _run([*fill, same, *wanted.packages])
    if wanted.alone:
        _run([*fill, "--no-deps", *wanted.alone])


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, text=True, stderr=subprocess.PIPE)


def bare_environment(threads: int | None = None) -> dict[str, str]:
    """This process's variables without what belongs to its own Python."""
    given = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return given | ({} if threads is None else {"OMP_NUM_THREADS": str(threads)})


def run_inside(python: Path, script: Path, *arguments: str) -> str:
    """What a script prints, run by a peer's Python. Raises CannotRun with its last words when it fails."""
    command = [str(python), str(script), *arguments]
    done = subprocess.run(command, env=bare_environment(), text=True, capture_output=True, check=False)
    if done.returncode:
        raise CannotRun(f"{script.name} failed in {python.parents[1]}: {done.stderr.strip()[-2000:]}")
    return done.stdout
