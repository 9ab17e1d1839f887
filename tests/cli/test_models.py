from __future__ import annotations

import io
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from rich.console import Console

import interp.models.prepared as prepared
from interp.cli import main as cli
from interp.cli.models import Config, main
from interp.models.catalogue import entries
from interp.models.toy import COMPILED, TOYS

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("INTERP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def run(config: Config) -> str:
    console = Console(file=io.StringIO(), width=160)
    assert main(config, console) == 0
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_every_model_of_the_catalogue_is_listed(cache: Path) -> None:
    printed = run(Config())
    for entry in entries():
        assert entry.name in printed
    assert "or smollm2-135m" in printed
    assert str(cache) in printed


def test_only_what_needs_no_network_is_called_here() -> None:
    here = {entry.name for entry in entries() if entry.cached and entry.source != "hub"}
    assert here - set(COMPILED) == set(TOYS)
    assert bool(here & set(COMPILED)) == (find_spec("tracr") is not None)


def test_a_kept_model_shows_its_true_size(cache: Path) -> None:
    model = prepared.SMOLLM2_135M
    model.directory.mkdir(parents=True)
    (model.directory / "model.safetensors").write_bytes(bytes(3_000_000))
    prepared._write_manifest(model, model.directory)
    entry = next(entry for entry in entries() if entry.name == model.name)
    assert entry.cached
    assert entry.n_bytes is not None
    assert 3_000_000 < entry.n_bytes < 3_010_000
    assert "3 MB" in run(Config())


def test_verify_reads_hashes_and_mends(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = prepared.SMOLLM2_135M
    assert "not in the cache" in run(Config(verify=True))
    model.directory.mkdir(parents=True)
    file = model.directory / "model.safetensors"
    file.write_bytes(b"weights")
    prepared._write_manifest(model, model.directory)
    assert "every file has its SHA-256" in run(Config(verify=True))
    file.write_bytes(b"Weights")
    monkeypatch.setattr(prepared, "_make", lambda *_: file.write_bytes(b"weights"))
    assert "model.safetensors has the wrong SHA-256) and has been made again" in run(Config(verify=True))
    assert "every file has its SHA-256" in run(Config(verify=True))


def test_listing_needs_no_torch() -> None:
    heavy = "{'torch', 'transformers'} & {*sys.modules}"
    program = f"import sys; from interp.cli.main import main; main(['models']); print({heavy})"
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("set()\n")


def test_help_explains_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["models", "--help"])
    printed = capsys.readouterr().out
    assert "--verify" in printed
    assert "List the models" in printed
