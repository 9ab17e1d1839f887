"""The phase change: its data, its resumption after an interruption, and the change itself, small and in full."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from interp.heads import repeated_loss, scores
from interp.reproduce import phase_change, run_phase_change, small_training
from interp.reproduce.examining import examine
from interp.reproduce.phase_change import PhaseChange, PhaseChangeSettings, phase_change_of_revisions
from interp.reproduce.repeating_sequences import repeated_halves, repeating_sequences
from interp.runs import open_run
from interp.tasks import repeated_random_tokens
from interp.viz import Report
from tests.tiny_models import tiny

TINY = PhaseChangeSettings(
    n_steps=6, d_model=16, n_heads=2, n_ctx=16, d_vocab=12, batch_size=4, shortest=2, longest=5, examine_every=2, n=4
)
SMALL = PhaseChangeSettings(
    n_steps=600, d_model=32, n_heads=2, n_ctx=32, d_vocab=24, shortest=3, longest=10, learning_rate=5e-3
)


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
    torch.testing.assert_close(found.heads, expected, atol=1e-5, rtol=1e-5)
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
        torch.testing.assert_close(resumed.values[name].data, values.data)


def test_the_report_says_that_it_is_synthetic(tmp_path: Path) -> None:
    experiment, compared, report = go(TINY, tmp_path)
    assert compared.values["in_context"].axis("model").labels == ("1-layer", "2-layers")
    assert compared.values["in_context"].axis("step").labels == (0, 2, 4, 6)
    assert list(experiment.table().what) == ["1-layer: in-context score", "2-layers: in-context score"]
    assert report.html.count("Synthetic: small attention-only models") >= 3


def changed(compared: PhaseChange, n_vocab: int) -> None:
    """Two layers learn to look up what followed, suddenly; one layer does not."""
    one, two = compared.sel(model="1-layer").values, compared.sel(model="2-layers").values
    chance = torch.tensor(float(n_vocab)).log()
    assert two["in_context"].data[-1] < -0.5 * chance
    assert one["in_context"].data[-1] > -0.25 * chance
    assert two["induction"].data[-1] > 0.45
    assert one["induction"].data.max() < 0.2
    # Sudden: most of the fall within a quarter of the training.
    fall = two["loss"].data
    width = max(1, len(fall) // 4)
    largest = max((fall[i] - fall[i + width]).item() for i in range(len(fall) - width))
    assert largest > 0.5 * (fall[0] - fall[-1]).item()


@pytest.mark.slow
def test_two_layers_change_and_one_does_not_small(tmp_path: Path) -> None:
    changed(go(SMALL, tmp_path)[1], SMALL.d_vocab)


@pytest.mark.slow
def test_two_layers_change_and_one_does_not_by_default(tmp_path: Path) -> None:
    changed(go(PhaseChangeSettings(), tmp_path)[1], PhaseChangeSettings().d_vocab)


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
