"""Rules of the house that no linter knows: documentation, sizes, names, no traces of a machine, no code from data."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = [ROOT / name for name in ("interp", "saes") if (ROOT / name).is_dir()]
MODULES = sorted(path for package in PACKAGES for path in package.rglob("*.py"))
MAX_LINES = 400


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def syntax(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


@cache
def tracked() -> list[Path]:
    """The text files that git knows, this one excepted: it has to spell what it looks for."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [
        path for path in paths if path.is_file() and path != Path(__file__).resolve() and b"\0" not in path.read_bytes()
    ]


def hits(pattern: str, paths: list[Path]) -> list[str]:
    """`file:line: text` of every line that matches."""
    return [
        f"{name_of(path)}:{number}: {line.strip()}"
        for path in paths
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if re.search(pattern, line)
    ]


def public_functions(module: ast.Module) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Module-level functions and methods of module-level public classes whose names say they are public."""
    bodies = [module.body, *(n.body for n in module.body if isinstance(n, ast.ClassDef) and not n.name.startswith("_"))]
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [node for body in bodies for node in body if isinstance(node, kinds) and not node.name.startswith("_")]


def is_stub(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a function only states a signature, as in a protocol or an overload: `...` is its whole body."""
    return [ast.unparse(statement) for statement in node.body] == ["..."]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_public_names_are_documented(path: Path) -> None:
    module = syntax(path)
    assert ast.get_docstring(module) or not module.body, "a module says what idea it holds"
    undocumented = [node.name for node in public_functions(module) if not ast.get_docstring(node) and not is_stub(node)]
    undocumented += [
        node.name
        for node in module.body
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and not ast.get_docstring(node)
    ]
    assert not undocumented


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_stay_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) < MAX_LINES


@pytest.mark.parametrize("package", sorted({path.parent for path in MODULES}), ids=name_of)
def test_no_module_bears_the_name_of_a_public_function_of_its_package(package: Path) -> None:
    # Importing the module would replace the function as the attribute of the package.
    modules = {path.stem for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert not modules & offered(package)


def offered(package: Path) -> set[str]:
    """What a package offers besides modules: what its `__init__` defines, imports, or looks up when asked."""
    here = importlib.import_module(".".join(package.relative_to(ROOT).parts))
    named = {name for name, value in vars(here).items() if not isinstance(value, ModuleType)}
    look_up = vars(here).get("__getattr__")
    return named | {name for name in dir(here) if look_up and not isinstance(getattr(here, name), ModuleType)}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_module_is_a_drawer_for_odds_and_ends(path: Path) -> None:
    assert path.stem not in {"utils", "util", "helpers", "common", "misc"}


def test_no_file_names_the_machine_it_was_written_on() -> None:
    # Absolute paths below home or work directories, and addresses of this or that host.
    assert not hits(r"(?<![\w./~-])/(work|root|home|Users|mnt|opt)/\w", tracked())
    assert not hits(r"\b(10\.\d{1,3}|192\.168|172\.(1[6-9]|2\d|3[01]))\.\d{1,3}\.\d{1,3}\b", tracked())


def test_no_data_is_ever_run_as_code() -> None:
    # Pickles run code when they are read; weights are safetensors, settings are JSON or YAML. One is written, for
    # another package that reads nothing else (lens/tuned_exports.py), and read again as nothing but tensors.
    pattern = r"(?<!safetensors\.)\btorch\.(save\((?!lens\.parameters\(\))|load\((?!.*\bweights_only=True))"
    pattern += r"|\bpickle\b|\bdill\b|\bmarshal\b|\bshelve\b|\bjoblib\.load"
    pattern += r"|yaml\.(unsafe_|full_)?load\(|allow_pickle=True|(?<![\w.])(eval|exec)\(|trust_remote_code=True"
    pattern += r"|weights_only=False"
    assert not hits(pattern, [path for path in tracked() if path.suffix == ".py"])


def test_only_the_models_room_may_fetch() -> None:
    # One documented way to the network: everything else works on what is there.
    elsewhere = [path for path in MODULES if "models" not in path.relative_to(ROOT).parts]
    pattern = r"^\s*(import|from) (requests|httpx|urllib\.request|aiohttp|http\.client)\b|(snapshot|hf_hub)_download\("
    assert not hits(pattern, elsewhere)
