"""Environments for libraries that cannot stand beside this one: each in a directory of its own, made when first needed.

SAELens refuses TransformerLens 4, and every library brings its own pins; what is compared with them runs in two
processes, which exchange safetensors files.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from interp.runs import cache_dir

PEERS: dict[str, tuple[str, ...]] = {
    "sae-lens": ("sae-lens==6.54.*", "transformer-lens>=3,<4"),
    "sparsify": ("eai-sparsify==1.3.3",),
    "dictionary-learning": ("dictionary-learning==0.1.0",),
}
"""What is installed for each peer."""


class CannotRun(RuntimeError):
    """The peer's environment cannot be made here; the message says why."""


def environment(name: str, directory: Path | None = None, packages: Sequence[str] | None = None) -> Path:
    """The Python of a peer's environment, which is made when it is not there. Raises CannotRun when it cannot be."""
    home = directory or cache_dir() / "peers" / name
    python = home / "bin" / "python"
    wanted = list(packages or PEERS[name])
    stamp = home / "installed.json"
    if python.is_file() and stamp.is_file() and json.loads(stamp.read_text()) == wanted:
        return python
    print(f"making an environment with {', '.join(wanted)} in {home}; this takes some minutes", flush=True)
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        _install(home, python, wanted)
    except (OSError, subprocess.CalledProcessError) as error:
        told = getattr(error, "stderr", None) or str(error)
        raise CannotRun(f"{', '.join(wanted)} cannot be installed: {told.strip().splitlines()[-1]}") from error
    stamp.write_text(json.dumps(wanted))
    return python


def _install(home: Path, python: Path, wanted: list[str]) -> None:
    uv = shutil.which("uv")
    make = [uv, "venv", "-q", str(home)] if uv else [sys.executable, "-m", "venv", str(home)]
    fill = [uv, "pip", "install", "-q", "--python", str(python)] if uv else [str(python), "-m", "pip", "install", "-q"]
    for command in ([*make], [*fill, *wanted]):
        subprocess.run(command, check=True, text=True, stderr=subprocess.PIPE)


def run_inside(python: Path, script: Path, *arguments: str, threads: int | None = None) -> str:
    """What a script prints, run by a peer's Python. Raises CannotRun with its last words when it fails."""
    given = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    given |= {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(
        [str(python), str(script), *arguments], env=given, text=True, capture_output=True, check=False
    )
    if done.returncode:
        raise CannotRun(f"{script.name} failed in {python.parents[1]}: {done.stderr.strip()[-2000:]}")
    return done.stdout
