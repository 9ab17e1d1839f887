"""The sections on the found circuit, end to end on a tiny model; the real one against what is known of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from interp import tasks
from interp.circuits import HeadCircuit
from interp.reproduce import ioi_circuit_judged
from interp.reproduce.experiment import Experiment
from interp.reproduce.ioi_circuit import ROLE_POSITIONS, circuit_sections
from interp.reproduce.ioi_circuit_settings import CircuitSettings
from interp.reproduce.ioi_roles import NEGATIVE, POSITIVE
from interp.reproduce.ioi_settings import IoiSettings
from interp.runs import open_run
from interp.viz import Report
from tests.reproduce.test_ioi import reading_model

SMALL = CircuitSettings(
    n=8, per_group=3, n_random=2, n_random_prompts=5, n_cut=5, n_random_cut=1, n_measured=5, n_sets=2, n_steps=2,
    n_candidates=2,
)  # fmt: skip
ROLES = {POSITIVE: ((3, 0),), "induction": ((2, 1),), "backup name mover": ()}
STEPS = {f"ioi-circuit-{name}" for name in ("faithfulness", "knock-outs", "completeness", "minimality")}


@pytest.fixture(scope="module")
def model() -> Any:
    return reading_model(1.0)


def go(model: Any, root: Path, roles: dict[str, Any], settings: Any = SMALL) -> tuple[Experiment, dict[str, Any], str]:
    task, maps = tasks.ioi(model, n=6), tasks.ioi(model, n=2)
    with open_run("ioi", {"of": "circuit"}, root=root) as run:
        experiment = Experiment(model, run, Report("tiny"), "ioi")
        circuit_sections(experiment, model, task, maps, roles, settings)
        return experiment, run.results(), experiment.report.html


def test_all_sections_on_new_prompts(model: Any, tmp_path: Path) -> None:
    experiment, results, page = go(model, tmp_path, ROLES)
    assert set(results) == STEPS
    for title in ("faithfulness", "the model without the circuit", "completeness", "minimality"):
        assert f"IOI: {title}" in page
    assert (
        "No head was found for: previous-token heads, duplicate-token heads, S-inhibition heads, backup name movers"
        in page
    )
    table = experiment.table()
    assert list(table.n) == [8, 8, 5, 5]
    assert ((table.low <= table.value) & (table.value <= table.high)).all()
    told = results["ioi-circuit-faithfulness"].settings["ablation"]["reference"]
    # Four (template, order) pairs are run by the eight prompts' first templates, three reference prompts each.
    assert told["smallest_group"] == 3
    assert told["prompts"] == 3 * told["groups"]
    seeds = [tasks.ioi(model, n=8).seed, results["ioi-circuit-faithfulness"].provenance.task["seed"], told["seed"]]
    assert len(set(seeds)) == 3
    assert results["ioi-circuit-completeness"].settings["search"]["separate"] is True
    assert "chosen by" in page
    (run,) = (tmp_path / "ioi").iterdir()
    assert HeadCircuit.load(run / "ioi-head-circuit.json").places == {(3, 0, "end"), (2, 1, "S2")}


def test_what_was_finished_is_not_computed_again(model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ioi_circuit_judged, "head_minimality", interrupted)
        with pytest.raises(KeyboardInterrupt):
            go(model, tmp_path, ROLES)
    for name in ("head_faithfulness", "head_completeness", "head_knock_outs"):
        monkeypatch.setattr(ioi_circuit_judged, name, interrupted)
    _, results, _ = go(model, tmp_path, ROLES)
    assert set(results) == STEPS


def test_no_roles_no_circuit(model: Any, tmp_path: Path) -> None:
    experiment, results, page = go(model, tmp_path, dict.fromkeys(ROLE_POSITIONS, ()))
    assert (results, experiment.headline) == ({}, [])
    assert "No head of this model met the rule of any role" in page


def test_a_model_that_cannot_be_measured_says_why(model: Any, tmp_path: Path) -> None:
    _, _, page = go(model, tmp_path, {POSITIVE: ((9, 0),)})
    assert "This model does not allow it:" in page


def test_settings_follow_the_experiments() -> None:
    full, quick = CircuitSettings(), CircuitSettings.quick()
    assert CircuitSettings.of(IoiSettings()) == full
    assert CircuitSettings.of(IoiSettings.quick()) == quick
    assert CircuitSettings.of(IoiSettings(n=200)) == dataclasses.replace(full, n=200)
    assert CircuitSettings.of(SMALL) is SMALL
    assert all(getattr(quick, field.name) < getattr(full, field.name) for field in dataclasses.fields(full))
    assert full.per_group >= 25


@pytest.mark.slow
def test_the_circuit_of_the_real_model(tmp_path: Path) -> None:
    """Measured here, with other prompts and 20 draws: F(C) / F(M) 0.75, nothing kept 0.25 of 4.97, name movers 23.3."""
    from interp import load_model

    model = load_model("smollm2-135m")
    roles = {
        "previous token": ((16, 0), (11, 1)),
        "duplicate token": ((14, 3), (8, 0)),
        "induction": ((18, 6), (17, 3), (17, 4)),
        "S-inhibition": ((20, 0),),
        POSITIVE: ((23, 0), (23, 3), (29, 1)),
        NEGATIVE: ((24, 4), (29, 0)),
    }
    _, results, _ = go(model, tmp_path, roles, CircuitSettings.quick())
    found = results["ioi-circuit-faithfulness"]
    assert 0.55 < float(found.values["faithfulness"].data) < 0.95
    assert abs(float(found.values["F"].sel(run="nothing kept").data)) < 1.0
    assert float(found.values["F"].sel(run="random circuits").data) < 1.0
    cut = results["ioi-circuit-knock-outs"].sel(heads="found").values["F"]
    assert cut.sel(knocked_out=NEGATIVE).data > cut.sel(knocked_out="nothing").data
    assert cut.sel(knocked_out="whole circuit").data < 0
    needed = results["ioi-circuit-minimality"]
    assert needed.top(1)["head"][0] == "23.3"
    assert needed.sel(head="29.0").values["change"].data < -0.05
