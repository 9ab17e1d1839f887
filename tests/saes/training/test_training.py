"""`saes.train` from texts to a report: on a small model, interrupted in every way, with whatever can be wrong."""

from __future__ import annotations

import errno
import json
import logging
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import saes
from interp.errors import InputError, StorageError
from interp.results import load
from saes.activations.harvesting import ModelStream
from saes.activations.texts import Texts
from saes.cli.measure_tables import meanings, table_of
from saes.training import checkpoints
from saes.training.checkpoints import load_checkpoint
from saes.training.config import TrainConfig, structure
from saes.training.loggers import Logger
from saes.training.loop import CHECKPOINTS
from tests.tiny_models import tiny, tiny_llama

SITES = ["blocks.0.hook_resid_post", "blocks.1.hook_mlp_out"]
N_STEPS = 15
NAMES = ["topk-96-k4", "topk-96-k8", "jumprelu-96-l0_6"]


def write_texts(folder: Path, n: int = 40) -> Path:
    """Documents of 60 random words, a token each (w1 and w2 are special, and what begins with them falls apart)."""
    draw = random.Random(0)
    folder.mkdir(exist_ok=True)
    for i in range(n):
        (folder / f"{i:02d}.txt").write_text(" ".join(f"w{draw.randrange(30, 100)}" for _ in range(60)))
    return folder


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    return write_texts(tmp_path / "texts")


def configuration(texts: Path, **changes: Any) -> TrainConfig:
    fit = {"n_tokens": 64 * N_STEPS, "batch_size": 64, "log_every": 5, "plan": {"max_density": 0.2}}
    plain: dict[str, Any] = {
        "model": "tiny",
        "sites": SITES,
        "dictionaries": [
            {"architecture": "topk", "d_sae": 96, "k": [4, 8]},
            {"architecture": "jumprelu", "d_sae": 96, "target_l0": 6},
        ],
        "texts": {"source": str(texts), "held_out": 0.2},
        "harvest": {"context_size": 16, "buffer": 256, "prompts_per_pass": 4},
        "fit": fit | changes.pop("fit", {}),
        "evaluate_prompts": 4,
    }
    return structure(plain | changes)


def weights(run: saes.TrainingRun) -> dict[str, torch.Tensor]:
    return {f"{n}.{k}": v for n, d in run.dictionaries.items() for k, v in d.state_dict().items()}


def same(a: saes.TrainingRun, b: saes.TrainingRun) -> bool:
    first, second = weights(a), weights(b)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_from_texts_to_a_report(texts: Path, tmp_path: Path) -> None:
    run = saes.train(configuration(texts, fit={"evaluate_every": 8}), model=tiny("llama"), out=tmp_path / "runs")
    assert set(run.dictionaries) == {f"{site}-{name}" for site in SITES for name in NAMES}
    directory = run.directory
    assert directory is not None
    # Every document has 60 tokens, of a word each.
    n_tokens = 60 * len(list(Texts(str(texts), held_out=0.2).documents()))
    for name, dictionary in run.dictionaries.items():
        stored = saes.load(directory / "dictionaries" / name)
        x = torch.randn(5, dictionary.d_in, generator=torch.Generator().manual_seed(0))
        torch.testing.assert_close(stored(x).reconstruction, dictionary(x).reconstruction)
        assert stored.metadata["hook_name"] in SITES
        assert stored.metadata["n_tokens"] == 64 * N_STEPS
        assert stored.metadata["n_epochs"] == pytest.approx(64 * N_STEPS / n_tokens, rel=0.05)
    lines = [json.loads(line) for line in (directory / "log.jsonl").read_text().splitlines()]
    numbers = [line for line in lines if line["event"] == "numbers"]
    assert {line["step"] for line in numbers if "loss" in line} == {5, 10, 15}
    assert {line["step"] for line in numbers if "held_out_explained_variance" in line} == {8, 15}
    assert all(line["tokens_per_second"] > 0 for line in numbers if "loss" in line)
    assert run.log == [{k: v for k, v in line.items() if k not in ("time", "event")} for line in numbers]
    curves = load(directory / "results" / "training").values["explained_variance"]
    assert curves.data.shape == (6, 3)
    assert (curves.data[:, -1] > curves.data[:, 0]).all()
    measured = run.evaluation[SITES[0]]
    assert measured.sel(dictionary=f"{SITES[0]}-topk-96-k4", measure="l0").values["measures"].data <= 4
    assert "explained variance" in (directory / "report.html").read_text().lower()


@pytest.mark.parametrize("kind", ["held_out", "one short file"])
def test_nothing_held_out_is_said(kind: str, texts: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source, held_out = texts, 0.0
    if kind == "one short file":
        source, held_out = tmp_path / "one.txt", 0.05
        source.write_text("\n".join(path.read_text() for path in sorted(texts.iterdir())[:20]))
    entry = {"architecture": "jumprelu", "d_sae": 96, "target_l0": 30, "coefficient": 0.0, "initial_threshold": 9.0}
    config = configuration(texts, sites=SITES[:1], dictionaries=entry)
    config = replace(config, texts=Texts(source=str(source), held_out=held_out))
    run = saes.train(config, model=tiny("llama"), out=tmp_path / "runs")
    assert "all numbers will be of tokens that were trained on: " in caplog.text
    assert "ended with" in caplog.text
    assert "and target_l0 is 30" in caplog.text
    assert run.on() == "On the tokens trained on; nothing was held out"
    assert list(table_of(run)) == ["dictionary", "L0", "EV", "dead"]
    assert "recovered" not in meanings(table_of(run))
    assert all("loss" in line for line in run.log), "no line without numbers"
    assert run.directory is not None
    assert "were not measured inside the model" in (run.directory / "report.html").read_text()
    told = repr(run)
    assert told.count("\n") == 1
    assert str(run.directory) in told
    assert "jumprelu-96-l0_30: L0 " in told


def test_seeds_of_one_kind_differ_at_the_start_only(texts: Path, tmp_path: Path) -> None:
    config = configuration(
        texts,
        sites=SITES[:1],
        dictionaries={"architecture": "topk", "d_sae": 96, "k": 4},
        fit={"n_seeds": 2},
        evaluate_prompts=0,
    )
    run = saes.train(config, model=tiny("llama"), out=tmp_path / "runs")
    assert list(run.dictionaries) == ["topk-96-k4-seed0", "topk-96-k4-seed1"]
    first, second = run.dictionaries.values()
    assert not torch.equal(first.decoder, second.decoder)
    assert not run.evaluation


def test_ctrl_c_and_resume_give_the_same_bits(texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = configuration(texts)
    whole = saes.train(config, model=tiny("llama"), out=tmp_path / "whole")
    take, calls = ModelStream.next_batch, []

    def interrupted(self: ModelStream, size: int) -> dict[str, torch.Tensor]:
        calls.append(size)
        if len(calls) == 8:
            signal.raise_signal(signal.SIGINT)
        return take(self, size)

    with monkeypatch.context() as patch:
        patch.setattr(ModelStream, "next_batch", interrupted)
        with pytest.raises(KeyboardInterrupt, match=f"stopped after step 8 of {N_STEPS}"):
            saes.train(config, model=tiny("llama"), out=tmp_path / "stopped")
    resumed = saes.train(config, model=tiny("llama"), out=tmp_path / "stopped")
    assert same(whole, resumed)
    assert len(list((tmp_path / "stopped" / "train-dictionaries").iterdir())) == 1
    # The numbers from before the interruption are there too, each once.
    assert [line["loss"] for line in resumed.log if "loss" in line] == [
        line["loss"] for line in whole.log if "loss" in line
    ]
    fresh = saes.train(configuration(texts, fit={"seed": 1}), model=tiny("llama"), out=tmp_path / "seed")
    assert not same(whole, fresh)


KILLED = """
import sys, torch, saes
from pathlib import Path
from tests.saes.training.test_training import configuration
from tests.tiny_models import tiny
torch.set_num_threads(1)
config = configuration(Path(sys.argv[1]), fit={"n_tokens": 64 * 120, "checkpoint_minutes": 0.0})
saes.train(config, model=tiny("llama"), out=sys.argv[2])
"""


@pytest.mark.dist
def test_kill_minus_nine_and_resume_give_the_same_bits(texts: Path, tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    arguments = [sys.executable, "-c", KILLED, str(texts), str(tmp_path / "killed")]
    process = subprocess.Popen(arguments, env=environment, cwd=root)
    deadline = time.monotonic() + 240
    while not list(tmp_path.glob("killed/*/*/checkpoints/0*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    process.kill()
    process.wait()
    (directory,) = (tmp_path / "killed" / "train-dictionaries").iterdir()
    found = load_checkpoint(directory / CHECKPOINTS)
    assert found is not None
    assert 0 < found[1]["step"] < 120
    config = configuration(texts, fit={"n_tokens": 64 * 120, "checkpoint_minutes": 0.0})
    resumed = saes.train(config, model=tiny("llama"), out=tmp_path / "killed")
    assert resumed.directory == directory
    assert same(resumed, saes.train(config, model=tiny("llama"), out=tmp_path / "whole"))


def test_what_cannot_be_trained_is_refused_before_the_first_step(texts: Path, tmp_path: Path) -> None:
    model, out = tiny("llama"), tmp_path / "runs"
    with pytest.raises(InputError, match="shorter than one context of 5000 tokens"):
        saes.train(configuration(texts, harvest={"context_size": 5000}), model=model, out=out)
    with pytest.raises(InputError, match="there are no texts at"):
        saes.train(configuration(tmp_path / "nothing.txt"), model=model, out=out)
    with pytest.raises(InputError, match=r"did you mean 'blocks\.0\.hook_resid_post'"):
        saes.train(configuration(texts, sites="blocks.0.hook_resid_pst"), model=model, out=out)
    other = saes.TopK(20, 96, k=4).build().save(tmp_path / "other")
    with pytest.raises(InputError, match="is 20 × 96, no entry's size"):
        saes.train(configuration(texts, warm_start=str(other)), model=model, out=out)
    assert not list(out.rglob("config.yaml")), "what was refused leaves no run"


def test_a_model_whose_activations_are_no_numbers(texts: Path, tmp_path: Path) -> None:
    broken = tiny_llama()
    with torch.no_grad():
        next(iter(broken.parameters())).fill_(float("inf"))
    with pytest.raises(InputError, match=r"activations at blocks\.0\.hook_resid_post are NaN or infinite"):
        saes.train(configuration(texts), model=broken, out=tmp_path / "runs")


def full_disk(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_disk_that_fills_up_costs_a_checkpoint_and_not_the_training(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = configuration(texts, fit={"checkpoint_minutes": 0.0})
    whole = saes.train(config, model=tiny("llama"), out=tmp_path / "whole")
    write, calls = checkpoints.write_tensors, []

    def sometimes_full(tensors: Any, path: Path) -> None:
        calls.append(path)
        if len(calls) in (5, 6, N_STEPS):
            full_disk()
        write(tensors, path)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "write_tensors", sometimes_full)
        # At the end there is no later: it is an error, and the training can be taken up from the step before.
        with caplog.at_level(logging.WARNING), pytest.raises(StorageError, match="the disk is full; free some space"):
            saes.train(config, model=tiny("llama"), out=tmp_path / "full")
    assert len(calls) == N_STEPS
    assert caplog.text.count("training goes on, and tries again") == 2
    caplog.clear()
    resumed = saes.train(config, model=tiny("llama"), out=tmp_path / "full")
    assert f"going on from step {N_STEPS - 1}" in caplog.text
    assert same(whole, resumed)


def test_a_disk_without_room_is_told_before_the_first_step(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(StorageError, match=r"the checkpoints of this training take .* GB left; free some space"):
        saes.train(configuration(texts), model=tiny("llama"), out=tmp_path / "runs")


@pytest.mark.parametrize("kind", ["wandb", "trackio"])
def test_numbers_go_to_a_logger(kind: str, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, Any]] = []
    library = ModuleType(kind)
    library.init = lambda **options: told.append(("init", options))  # type: ignore[attr-defined]
    library.log = lambda numbers, step: told.append(("log", (step, numbers)))  # type: ignore[attr-defined]
    library.finish = lambda: told.append(("finish", None))  # type: ignore[attr-defined]
    library.__spec__ = object()  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, kind, library)
    run = saes.train(configuration(texts, logger=kind, evaluate_prompts=0), model=tiny("llama"), out=tmp_path / "runs")
    assert run.directory is not None
    (_, options), *logged, last = told
    assert options["name"] == run.directory.name
    assert options["resume"] == "allow"
    assert ("id" in options) == (kind == "wandb")
    assert last[0] == "finish"
    steps = [step for _, (step, _) in logged]
    assert steps == sorted(steps)
    name = f"{SITES[0]}-topk-96-k4"
    assert any(f"{name}/explained_variance" in numbers for _, (_, numbers) in logged)
    assert any(f"{name}/held_out_l0" in numbers for _, (_, numbers) in logged)


def test_a_logger_without_a_key_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise RuntimeError("api_key not configured (no-tty)")

    library = ModuleType("wandb")
    library.init = refuse  # type: ignore[attr-defined]
    library.__spec__ = object()  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, "wandb", library)
    with pytest.raises(InputError, match=r"api_key not configured \(no-tty\)\).*WANDB_MODE=offline"):
        Logger("wandb", "project", "run", {})
