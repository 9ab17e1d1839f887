"""The phase change: its data, its resumption after an interruption, and the change itself, small and in full."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import torch

from interp.heads import repeated_loss, scores
from interp.reproduce import phase_change, run_phase_change, small_training
from interp.reproduce.examining import examine
from interp.reproduce.phase_change import PhaseChangeSettings, phase_change_of_revisions
from interp.reproduce.phase_change_told import PhaseChange, change_table
from interp.reproduce.repeating_sequences import repeated_halves, repeating_sequences
from interp.results import Axis, Values
from interp.runs import open_run, provenance
from interp.tasks import repeated_random_tokens
from interp.viz import Report
from tests.tiny_models import tiny

TINY = PhaseChangeSettings(
    n_steps=6, n_seeds=1, d_model=16, n_heads=2, n_ctx=16, d_vocab=12, batch_size=4, shortest=2, longest=5,
    examine_every=2, n=5,
)  # fmt: skip


def go(settings: PhaseChangeSettings, root: Path) -> tuple[Any, PhaseChange, Report]:
    report = Report("test")
    with open_run("phase", {"seed": settings.seed}, root=root) as run:
        experiment = run_phase_change(settings, run, report)
        return experiment, run.results()["phase-change-compared"], report  # type: ignore[return-value]


def test_a_stretch_returns_at_a_distance_that_varies() -> None:
    tokens = repeating_sequences(200, 32, 10**9, 3, 10, seed=0)  # a vocabulary in which nothing repeats by accident
    assert torch.equal(tokens, repeating_sequences(200, 32, 10**9, 3, 10, seed=0))
    distances, starts, lengths = set(), set(), set()
    for row in tokens:
        same = (row[None] == row[:, None]).triu(1)
        first, second = same.nonzero()[0].tolist()
        distance = second - first
        run = 0
        while second + run < 32 and row[first + run] == row[second + run]:
            run += 1
        distances.add(distance)
        starts.add(first)
        lengths.add(min(run, distance))
        assert distance >= 3
    assert len(distances) > 12
    assert len(starts) > 5
    assert {3, 10} <= lengths


def test_what_is_examined_is_what_the_public_functions_say() -> None:
    model = tiny("llama")
    tokens = torch.Tensor(repeated_random_tokens(model, 5, 7, seed=4)).long()
    found = examine(model, tokens)
    copies = repeated_loss(model, n=5, length=7, seed=4).values["copies_per_prompt"].data
    torch.testing.assert_close(torch.stack([found.first, found.second], dim=1), copies, atol=1e-5, rtol=1e-5)
    expected = scores(model, tokens, kinds=["previous", "induction"]).values["score"].data
    torch.testing.assert_close(found.heads.nanmean(0), expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(repeated_halves(2, 8, 9, seed=0)[:, :4], repeated_halves(2, 8, 9, seed=0)[:, 4:])


def test_an_interrupted_training_ends_as_an_uninterrupted_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle of a step of the second model: nothing finished is done again, nothing is different."""
    _, whole, _ = go(TINY, tmp_path / "whole")
    steps: list[int] = []
    one_step = small_training._one_step

    def counted(*args: Any) -> torch.Tensor:
        steps.append(1)
        if len(steps) == 10:  # the first model took 6
            raise KeyboardInterrupt
        return one_step(*args)

    monkeypatch.setattr(small_training, "_one_step", counted)
    with pytest.raises(KeyboardInterrupt):
        go(TINY, tmp_path / "cut")
    _, resumed, _ = go(TINY, tmp_path / "cut")
    assert len(steps) == 10 + 4  # from the examination after 2 steps of the second model
    assert len(list((tmp_path / "cut" / "phase").iterdir())) == 1
    for name, values in whole.values.items():
        torch.testing.assert_close(resumed.values[name].data, values.data, equal_nan=True)


def test_the_report_says_that_it_is_synthetic_and_of_one_seed(tmp_path: Path) -> None:
    experiment, compared, report = go(TINY, tmp_path)
    assert compared.values["in_context"].axis("model").labels == ("1-layer", "2-layers")
    assert compared.values["in_context"].axis("step").labels == (0, 2, 4, 6)
    assert list(experiment.table().what) == ["1-layer: in-context score", "2-layers: in-context score"]
    assert report.html.count("Synthetic: small attention-only models") == 1  # then it is pointed to
    assert "One training seed shows what can happen, not how often." in report.html
    assert "95\u00a0% intervals over 5 prompts" in report.html


def test_several_seeds_are_shown_one_by_one(tmp_path: Path) -> None:
    experiment, compared, report = go(replace(TINY, n_seeds=2, n=3), tmp_path)
    names = tuple(f"{layers} (seed {seed})" for layers in ("1-layer", "2-layers") for seed in (0, 1))
    assert compared.values["in_context"].axis("model").labels == names
    assert compared.values["low"].data.isnan().all()  # three prompts
    assert "no intervals, since 3 prompts are too few for any" in report.html
    assert "In none of 2 models of 1 layer an induction head formed" in report.html
    assert len(set(compared.values["loss"].data[:2, -1].tolist())) == 2
    table = experiment.table()
    assert table.of.tolist() == ["prompts, 2 seeds"] * 2
    ends = [compared.at_end(name)["in_context"].data.item() for name in names[:2]]
    assert table.value[0] == pytest.approx(sum(ends) / 2)
    assert len(change_table(compared)) == 4


def made(**scores: list[list[float]]) -> PhaseChange:
    """Two models' curves over the steps 0, 10, ... 80."""
    axes = (Axis("model", ("1-layer", "2-layers")), Axis("step", tuple(range(0, 90, 10))))
    values = {name: Values(torch.tensor(of), axes) for name, of in scores.items()}
    source = provenance(model={"id": "made"}, started=datetime.now())
    return PhaseChange(values=values, settings={"models": ["1-layer", "2-layers"]}, provenance=source)


def test_sudden_is_half_of_the_fall_in_a_quarter_of_the_training() -> None:
    sudden = [0.0, 0.0, 0.0, -0.5, -2.0, -2.0, -2.0, -2.0, -2.0]
    slow = [-0.2 * i for i in range(9)]
    head = [0.0] * 8 + [0.6]
    none = [0.0] * 8 + [0.39]
    found = made(in_context=[slow, sudden], induction=[head, head])
    assert found.fall("2-layers") == (30, 40, 2.0)
    assert (found.sudden("1-layer"), found.sudden("2-layers")) == (False, True)
    assert not made(in_context=[slow, sudden], induction=[head, none]).sudden("2-layers")  # it needs a head


@pytest.mark.slow
def test_two_layers_change_and_one_does_not_by_default(tmp_path: Path) -> None:
    """Whatever the seed, two layers learn to look up what followed; one layer does not. Most change suddenly."""
    settings = PhaseChangeSettings()
    compared = go(settings, tmp_path)[1]
    chance = torch.tensor(float(settings.d_vocab)).log()
    for seed in settings.seeds:
        one, two = compared.at_end(f"1-layer (seed {seed})"), compared.at_end(f"2-layers (seed {seed})")
        assert two["in_context"].data < -0.5 * chance
        assert one["in_context"].data > -0.25 * chance
        assert two["induction_low"].data > 0.45
        assert one["induction_high"].data < 0.2
    assert sum(compared.sudden(f"2-layers (seed {seed})") for seed in settings.seeds) >= 2


def test_revisions_are_measured_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"step1": tiny("gpt2"), "step10": tiny("llama")}
    monkeypatch.setattr(phase_change, "load_model", lambda name, revision, device: given[revision])
    with pytest.raises(RuntimeError):  # different numbers of layers do not make one curve
        phase_change_of_revisions("some/model", ["step1", "step10"], n=2, length=6)
    given["step10"] = tiny("native")
    found = phase_change_of_revisions("some/model", ["step1", "step10"], n=2, length=6)
    assert found.values["in_context"].axis("step").labels == (1, 10)
    expected = repeated_loss(tiny("native"), n=2, length=6).values["copies"].data
    torch.testing.assert_close(found.sel(step=10).values["loss"].data, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.hub
def test_pythia_forms_induction_heads() -> None:
    found = phase_change_of_revisions("EleutherAI/pythia-70m", ["step128", "step512", "step4000"], n=4, length=40)
    gained = found.values["in_context"].data
    assert gained[0] > -0.5
    assert gained[2] < -2.0
    assert found.sel(kind="induction", step=4000).values["best"].data > 0.5
