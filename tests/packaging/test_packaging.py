"""Packaging: lower bounds, the tested set, the build's contents, and the promises about dependencies."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from hatchling.build import build_wheel
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
STATED = [
    Requirement(line)
    for group in [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    for line in group
    if not line.startswith(PROJECT["name"])
]


def pinned() -> dict[str, Version]:
    """The tested version of every package in constraints.txt."""
    lines = [line.split("#")[0].strip() for line in (ROOT / "constraints.txt").read_text().splitlines()]
    pins = [Requirement(line) for line in lines if line]
    assert all(len(pin.specifier) == 1 and str(pin.specifier).startswith("==") for pin in pins), "one == a line"
    names = [canonicalize_name(pin.name) for pin in pins]
    assert len(names) == len(set(names)), "a package is pinned twice"
    return {name: Version(next(iter(pin.specifier)).version) for name, pin in zip(names, pins)}


@pytest.mark.parametrize("requirement", STATED, ids=str)
def test_every_dependency_states_a_lower_bound(requirement: Requirement) -> None:
    # Without one, pip silently falls back to old releases that do not work.
    assert any(part.operator in (">=", "==", "~=") for part in requirement.specifier)


@pytest.mark.parametrize("requirement", STATED, ids=str)
def test_the_tested_set_satisfies_every_stated_bound(requirement: Requirement) -> None:
    pins = pinned()
    assert canonicalize_name(requirement.name) in pins
    assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)])


def test_the_tested_set_is_free_of_what_breaks_it() -> None:
    pins = pinned()
    # torchvision beside this torch breaks the imports of transformers; the others conflict with the core set.
    conflicting = {"torchvision", "inseq", "interpreto", "alibi", "dalex", "sae-lens", "circuitkit", "kronfluence"}
    assert not conflicting & pins.keys()
    assert not [name for name in pins if name.startswith(("nvidia-", "triton"))], "torch chooses these itself"
    assert not [name for name, version in pins.items() if version.local], "a local build is no public version"


def wheel_files(directory: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files of a freshly built wheel, without its metadata directory."""
    monkeypatch.chdir(ROOT)
    wheel = directory / build_wheel(str(directory))
    names = zipfile.ZipFile(wheel).namelist()
    return sorted(name for name in names if ".dist-info/" not in name)


def test_the_wheel_holds_the_packages_with_their_data_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = [name for name in ("interp", "saes") if (ROOT / name).is_dir()]
    held = wheel_files(tmp_path, monkeypatch)
    present = {
        str(path.relative_to(ROOT))
        for package in packages
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert set(held) == present
    assert {"interp/py.typed", "interp/__init__.py"} <= set(held)


def test_importing_the_package_is_instant() -> None:
    # `import interp` and `interp --help` must not wait for torch.
    heavy = "{'torch', 'transformer_lens', 'transformers', 'plotly', 'pandas', 'sklearn', 'datasets'}"
    asked = f"import interp, interp.cli.main, sys; print(sorted({heavy} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
