"""`saes.fit`: several dictionaries in one pass, interruptions of every kind, and going on to the same bits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import saes
from interp.errors import InputError
from saes.activations.streams import TensorStream
from saes.kernels.calibration import Plan
from saes.training import loop
from saes.training.checkpoints import TENSORS, load_checkpoint, save_checkpoint
from saes.training.schedules import Schedule

D_IN = 16
CONFIGS = [saes.TopK(D_IN, 48, k=4), saes.JumpReLU(D_IN, 48, target_l0=4.0), saes.BatchTopK(D_IN, 48, k=4)]
OPTIONS = {"n_tokens": 64 * 60, "batch_size": 64, "seed": 3, "log_every": 10, "plan": Plan(max_density=0.2)}


def activations() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    features = torch.nn.functional.normalize(torch.randn(40, D_IN, generator=generator), dim=1)
    active = torch.rand(2000, 40, generator=generator) < 0.08
    return (active * (1 + torch.rand(2000, 40, generator=generator))) @ features * 2 + 3


def weights(run: saes.TrainingRun) -> dict[str, torch.Tensor]:
    return {f"{n}.{k}": v for n, d in run.dictionaries.items() for k, v in d.state_dict().items()}


def same(a: saes.TrainingRun, b: saes.TrainingRun) -> bool:
    first, second = weights(a), weights(b)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_several_dictionaries_in_one_pass() -> None:
    x = activations()
    run = saes.fit(CONFIGS, x, **OPTIONS)
    assert list(run.dictionaries) == ["topk-48-k4", "jumprelu-48-l0_4", "batchtopk-48-k4"]
    alone = saes.fit(CONFIGS[:1], x, **OPTIONS)
    assert torch.equal(alone.dictionary.decoder, run.dictionaries["topk-48-k4"].decoder)
    assert not same(alone, saes.fit(CONFIGS[:1], x, **{**OPTIONS, "seed": 4}))
    assert run.dictionaries["batchtopk-48-k4"].config.architecture == "jumprelu"
    frame = run.metrics()
    assert {"loss", "l0", "explained_variance", "dead", "held_out_explained_variance"} <= set(frame.columns)
    first, last = (run.log[i]["explained_variance"] for i in (0, -4))
    assert last > first
    with pytest.raises(InputError, match="this run has 3 dictionaries"):
        _ = run.dictionary


def test_sites_of_different_widths() -> None:
    x = activations()
    data = {"a": x, "b": x[:, :8].contiguous(), "c": -x}
    run = saes.fit([saes.TopK(D_IN, 48, k=4), saes.TopK(8, 32, k=2)], data, **OPTIONS)
    assert set(run.dictionaries) == {"a-topk-48-k4", "c-topk-48-k4", "b-topk-32-k2"}
    assert run.dictionaries["c-topk-48-k4"].metadata["hook_name"] == "c"


def test_an_interrupted_training_goes_on_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = activations()
    whole = saes.fit(CONFIGS, x, **OPTIONS)
    take = TensorStream.next_batch
    calls = 0

    def interrupted(self: TensorStream, size: int) -> dict[str, torch.Tensor]:
        nonlocal calls
        calls += 1
        if calls == 23:
            signal.raise_signal(signal.SIGINT)
        return take(self, size)

    with monkeypatch.context() as patch:
        patch.setattr(TensorStream, "next_batch", interrupted)
        with pytest.raises(KeyboardInterrupt, match="stopped after step 23 of 60"):
            saes.fit(CONFIGS, x, out=tmp_path, **OPTIONS)
    resumed = saes.fit(CONFIGS, x, out=tmp_path, **OPTIONS)
    assert same(whole, resumed)
    assert len(list((tmp_path / "fit-dictionaries").iterdir())) == 1
    lines = {(line["step"], line["dictionary"]): line["loss"] for line in whole.log if "loss" in line}
    for line in resumed.log:
        if "loss" in line:
            assert lines[line["step"], line["dictionary"]] == line["loss"]


KILLED = """
import sys, torch, saes
from tests.saes.training.test_fitting import CONFIGS, OPTIONS, activations
torch.set_num_threads(1)
saes.fit(CONFIGS, activations(), out=sys.argv[1], **{**OPTIONS, "n_tokens": 64 * 400, "checkpoint_minutes": 0.0})
"""


@pytest.mark.dist
def test_kill_minus_nine_loses_nothing_but_time(tmp_path: Path) -> None:
    """A process killed at a random moment, checkpointing all the time, then the same training in this process."""
    root = Path(__file__).resolve().parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], env=environment, cwd=root)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("fit-dictionaries/*/checkpoints/0*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    process.kill()
    process.wait()
    (directory,) = (tmp_path / "fit-dictionaries").iterdir()
    found = load_checkpoint(directory / loop.CHECKPOINTS)
    assert found is not None
    stopped_at = found[1]["step"]
    assert 0 < stopped_at < 400
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        options = {**OPTIONS, "n_tokens": 64 * 400, "checkpoint_minutes": 0.0}
        resumed = saes.fit(CONFIGS, activations(), out=tmp_path, **options)
        assert resumed.directory == directory
        assert same(resumed, saes.fit(CONFIGS, activations(), **options))
    finally:
        torch.set_num_threads(threads)


def test_a_torn_checkpoint_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for step in (10, 20, 30):
        save_checkpoint(tmp_path, step, {"x": torch.full((4,), float(step))}, {})
    assert len(list(tmp_path.iterdir())) == 2
    file = tmp_path / "00000030" / TENSORS
    file.write_bytes(file.read_bytes()[:-3])
    found = load_checkpoint(tmp_path)
    assert found is not None
    assert found[1]["step"] == 20
    assert "00000030 cannot be used (its tensors were altered or cut short)" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 4000}, "must hold at least one batch"),
        ({"batch_size": 1950, "n_tokens": 4000}, "larger than the data"),
        ({"n_token": 4000}, "there is no option of fit 'n_token'; did you mean 'n_tokens'"),
        ({"normalise": "layer"}, "there is no normalisation 'layer'"),
        ({"precision": "fp8", "plan": None}, "there is no precision 'fp8'"),
    ],
)
def test_bad_options(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        saes.fit(CONFIGS[0], activations(), **{**OPTIONS, **change})


def test_bad_activations(tmp_path: Path) -> None:
    x = activations()
    with pytest.raises(InputError, match=r"d_in = 16 fits no site \(activations: 8\)"):
        saes.fit(CONFIGS[0], x[:, :8], **OPTIONS)
    with pytest.raises(InputError, match="two dictionaries topk-48-k4"):
        saes.fit([CONFIGS[0], CONFIGS[0]], x, **OPTIONS)
    x[7, 3] = float("nan")
    with pytest.raises(InputError, match="hold NaN or infinity"):
        saes.fit(CONFIGS[0], x, out=tmp_path, **OPTIONS)


def test_nan_that_comes_later_stops_before_a_checkpoint_holds_it(tmp_path: Path, monkeypatch) -> None:
    take = TensorStream.next_batch
    calls = 0

    def spoilt(self: TensorStream, size: int) -> dict[str, torch.Tensor]:
        nonlocal calls
        calls += 1
        batch = take(self, size)
        return {site: value * float("nan") for site, value in batch.items()} if calls == 25 else batch

    monkeypatch.setattr(TensorStream, "next_batch", spoilt)
    with pytest.raises(InputError, match=r"the loss of topk-48-k4 is nan: activations at activations hold NaN"):
        saes.fit(CONFIGS[0], activations(), out=tmp_path, **{**OPTIONS, "checkpoint_minutes": 0.0})
    (directory,) = (tmp_path / "fit-dictionaries").iterdir()
    found = load_checkpoint(directory / loop.CHECKPOINTS)
    assert found is not None
    assert all(value.isfinite().all() for value in found[0].values() if value.is_floating_point())


def test_schedules() -> None:
    schedule = Schedule(lr=1.0, warm_up=0.1, decay="linear", decay_share=0.2, sparsity_warm_up=0.5, k_start=60)
    rates = [schedule.lr_at(step, 100) for step in range(100)]
    assert rates[:10] == sorted(rates[:10])
    assert set(rates[10:79]) == {1.0}
    assert rates[80:] == sorted(rates[80:], reverse=True)
    assert 0 < rates[-1] < 0.1
    assert schedule.sparsity_at(0, 100) < 0.05
    assert schedule.sparsity_at(60, 100) == 1.0
    assert [schedule.k_at(step, 100, 20) for step in (0, 10, 20, 99)] == [60, 40, 20, 20]
    with pytest.raises(InputError, match="more than the whole training"):
        Schedule(warm_up=0.9, decay_share=0.2)
