"""What an environment with a torch of its own still needs: requirements without torch, pins that leave the rest alone.

Called by install.sh with the Python of that environment: `python missing.py VENV` writes VENV/missing-requirements.txt
(what the project and its tests depend on, except torch) and VENV/missing-constraints.txt (torch as it is, and the
tested version of every package that is not there yet). Uses the standard library only.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]


def name_of(requirement: str) -> str:
    """The normalised name at the start of a requirement: "Torch>=2.13" -> "torch"."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement).group()).lower()  # type: ignore[union-attr]


def installed() -> dict[str, str]:
    """Versions of the packages of this environment, by normalised name."""
    return {name_of(d.metadata["Name"]): d.version for d in importlib.metadata.distributions()}


def requirements() -> list[str]:
    """The dependencies that pyproject.toml states for the project and its tests, except torch."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    stated = project["dependencies"] + project["optional-dependencies"]["dev"]
    return [requirement for requirement in stated if name_of(requirement) != "torch"]


def pins(present: dict[str, str]) -> list[str]:
    """Tested versions of what is missing; what is there already is only replaced where a lower bound asks for it."""
    tested = [line.split("#")[0].strip() for line in (PROJECT / "constraints.txt").read_text().splitlines()]
    return [f"torch=={present['torch']}", *(pin for pin in tested if pin and name_of(pin) not in present)]


def main(environment: Path) -> None:
    """Write the two files, and say which torch stays."""
    present = installed()
    (environment / "missing-requirements.txt").write_text("\n".join(requirements()) + "\n")
    (environment / "missing-constraints.txt").write_text("\n".join(pins(present)) + "\n")
    tested = re.search(r"^torch==(.*)$", (PROJECT / "constraints.txt").read_text(), re.MULTILINE).group(1)  # type: ignore[union-attr]
    print(f"torch {present['torch']} of {environment} stays as it is (tested with {tested})")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
