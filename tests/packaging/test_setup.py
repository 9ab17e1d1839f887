"""The way from a bare clone to an environment: what is refused, what is left alone, what is already done."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A directory, with a space in its name, that holds what the setup scripts read."""
    directory = tmp_path / "a clone"
    (directory / "scripts").mkdir(parents=True)
    for name in ("pyproject.toml", "constraints.txt", "Makefile"):
        (directory / name).write_bytes((ROOT / name).read_bytes())
    (directory / "scripts/setup").symlink_to(ROOT / "scripts/setup")
    return directory


def executable(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def tools_only(directory: Path) -> Path:
    """A directory for PATH with the ordinary tools and without any Python, pip or uv."""
    directory.mkdir()
    for tool in ("sh", "make", "dirname", "cat", "cksum", "rm", "tee", "tail", "awk"):
        found = next(Path(p) / tool for p in os.environ["PATH"].split(os.pathsep) if (Path(p) / tool).exists())
        (directory / tool).symlink_to(found)
    return directory


def install(clone: Path, venv: str = ".venv", **environment: str) -> subprocess.CompletedProcess[str]:
    """`make install VENV=venv` in the clone."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHON", "INSTALLER", "MAKEFLAGS", "MAKELEVEL")
    }
    command = ["make", "install", f"VENV={venv}"]
    return subprocess.run(command, cwd=clone, env=kept | environment, capture_output=True, text=True, check=False)


def test_a_python_that_is_too_old_is_refused_with_the_way_out(clone: Path, tmp_path: Path) -> None:
    tools = tools_only(tmp_path / "tools")
    executable(tools / "python3", 'case "$2" in *platform*) echo 3.9.2;; *) exit 1;; esac')
    run = install(clone, PATH=str(tools))
    assert run.returncode != 0
    assert "python3 is 3.9.2" in run.stderr
    assert "3.11, 3.12 or 3.13" in run.stderr
    assert "make install PYTHON=" in run.stderr
    assert not (clone / ".venv").exists()


def test_a_python_without_pip_names_what_to_install(clone: Path, tmp_path: Path) -> None:
    tools = tools_only(tmp_path / "tools")
    executable(tools / "python3", f'case "$*" in *ensurepip*|*"-m pip"*) exit 1;; esac\nexec "{sys.executable}" "$@"')
    run = install(clone, PATH=str(tools))
    assert run.returncode != 0
    assert "has no pip, and there is no uv" in run.stderr
    assert not (clone / ".venv").exists()


@pytest.mark.parametrize("venv", [".venv", "an environment"])
def test_nothing_happens_when_the_environment_is_up_to_date(clone: Path, venv: str) -> None:
    # A pip that is called at all would fail here: this environment holds a python that does nothing.
    executable(clone / venv / "bin/python", '[ "$1" = -c ] && [ -z "$2" ]')
    wanted = subprocess.run(
        ["sh", "-c", "pwd; cksum pyproject.toml constraints.txt"], cwd=clone, capture_output=True, text=True, check=True
    )
    (clone / venv / ".interp-workbench").write_text(wanted.stdout)
    run = install(clone, venv)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    (clone / "constraints.txt").write_text("# other pins\n")
    assert install(clone, venv).returncode != 0


@pytest.fixture
def missing() -> ModuleType:
    """scripts/setup/missing.py, which is no part of a package."""
    spec = importlib.util.spec_from_file_location("missing", ROOT / "scripts/setup/missing.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_existing_torch_and_what_lies_beside_it_are_left_alone(missing: ModuleType) -> None:
    pins = missing.pins({"torch": "2.14.0a0+git1234.cuda", "numpy": "2.5.0", "huggingface-hub": "2.4.1"})
    assert pins[0] == "torch==2.14.0a0+git1234.cuda"
    names = [missing.name_of(pin) for pin in pins]
    assert len(names) == len(set(names))
    assert not {"numpy", "huggingface-hub"} & set(names)
    assert "scipy==1.15.3" in pins, "what is missing comes from the tested set"
    assert "torch" not in {missing.name_of(requirement) for requirement in missing.requirements()}
    assert {"transformer-lens", "pytest"} <= {missing.name_of(requirement) for requirement in missing.requirements()}


def test_make_alone_explains_every_command() -> None:
    shown = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert targets
    for target in set(targets.group(1).split()) - {"help"}:
        assert f"make {target} " in shown
