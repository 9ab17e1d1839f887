from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch

from interp.runs import environment, environments, provenance


def test_the_environment_is_plain_and_names_what_matters() -> None:
    found = environment("cpu")
    assert json.loads(json.dumps(found)) == found
    assert found["packages"]["torch"] == torch.__version__
    assert found["threads"] == torch.get_num_threads()
    assert found["device"] == "cpu"
    assert environment()["device"] == "unknown"


def test_provenance_has_the_times_and_the_device_of_the_model() -> None:
    started = datetime(2026, 1, 1, tzinfo=UTC)
    made = provenance(model={"id": "toy/induction", "device": "cpu"}, seed=3, started=started)
    assert made.environment["device"] == "cpu"
    assert (made.task, made.seed) == ({}, 3)
    assert datetime.fromisoformat(made.started) == started
    assert datetime.fromisoformat(made.ended) > started


def git(directory: Path, *arguments: str) -> str:
    author = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    return subprocess.run(
        ["git", "-C", str(directory), *author, *arguments], check=True, capture_output=True, text=True
    ).stdout.strip()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that lies in a repository, as far as the code can tell."""
    file = tmp_path / "interp" / "runs" / "environments.py"
    file.parent.mkdir(parents=True)
    file.write_text("x = 1\n")
    git(tmp_path, "init", "-q")
    monkeypatch.setattr(environments, "__file__", str(file))
    environments.code_commit.cache_clear()
    yield tmp_path
    environments.code_commit.cache_clear()


def test_the_commit_says_whether_the_code_was_edited(package: Path) -> None:
    git(package, "add", ".")
    git(package, "commit", "-q", "-m", "first")
    commit = git(package, "rev-parse", "HEAD")
    assert environments.code_commit() == commit
    (package / "interp" / "runs" / "environments.py").write_text("x = 2\n")
    environments.code_commit.cache_clear()
    assert environments.code_commit() == f"{commit}+changes"


def test_a_package_inside_somebody_elses_repository_does_not_take_its_commit(package: Path) -> None:
    git(package, "commit", "-q", "--allow-empty", "-m", "theirs")
    assert environments.code_commit() != git(package, "rev-parse", "HEAD")
