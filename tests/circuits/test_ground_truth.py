"""The ground-truth table: its numbers against independent ones, and what it must say about known methods."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from interp.circuits import edge_scores
from interp.circuits.ground_truth import GroundTruthTable, auroc, ground_truth_table, rank_correlation
from interp.errors import InputError
from interp.models.toy import TOYS, toy_module
from interp.models.toy.truth import DENOISE, NOISE
from interp.results import load


@pytest.fixture(scope="module")
def table() -> GroundTruthTable:
    return ground_truth_table(["exact", "eap", "eap-qk-fix"], n=3)


def cell(table: GroundTruthTable, value: str, case: str, method: str) -> float:
    return float(table.values[value].sel(case=case, method=method).data)


def test_exact_patching_finds_every_edge_that_matters_alone(table):
    exact = table.sel(method="exact")
    assert exact.values["auroc"].data.tolist() == [1.0] * 2 * len(TOYS)
    assert float(exact.values["error"].data.max()) < 1e-5
    assert float(exact.values["missed"].data.max()) == float(exact.values["spurious"].data.max()) == 0
    np.testing.assert_allclose(exact.values["spearman"].data, 1.0, atol=1e-3)


def test_exact_patching_does_not_find_every_circuit(table):
    assert cell(table, "circuit_auroc", "toy/induction noise", "exact") == 1.0
    for case in ("toy/or noise", "toy/backup noise", "toy/backup denoise", "toy/and denoise"):
        assert cell(table, "circuit_auroc", case, "exact") < 1.0


def test_attribution_is_blind_where_the_toys_are_flat(table):
    for toy in TOYS:
        for direction, case in (("noise", NOISE), ("denoise", DENOISE)):
            flat = toy_module(toy).TRUTH.flat.get(case, ())
            assert cell(table, "missed", f"{toy} {direction}", "eap") == len(flat)
    notes = [note for note in table.notes if note.startswith("eap is blind")]
    assert any("toy/induction noise" in note and "a0.0 -> a1.0.k" in note and "saturated" in note for note in notes)
    assert not any("toy/linear" in note for note in table.notes)
    assert sum("toy/induction" in note for note in notes) == 1, "both directions in one sentence"
    (backups,) = [note for note in table.notes if note.startswith("Edges of a sufficient set")]
    assert "toy/or noise" in backups
    assert "toy/and denoise" in backups
    assert "toy/and noise" not in backups


def test_a_gradient_that_is_small_underestimates() -> None:
    notes = ground_truth_table(["eap-ig"], ["toy/induction"], n=3).notes
    assert notes[0].startswith("eap-ig underestimates 3 of the 5 active edges of toy/induction noise and denoise: ")
    assert not any("blind" in note for note in notes)


def test_integrated_gradients_see_the_inputs_of_a_gate_that_patching_one_does_not():
    made = ground_truth_table(["eap-ig"], ["toy/or", "toy/and"], n=2)
    for case in ("toy/or noise", "toy/and denoise"):
        assert cell(made, "spurious", case, "eap-ig") == 4
        assert cell(made, "circuit_auroc", case, "eap-ig") == 1.0


def test_attribution_is_exact_on_what_is_linear(table):
    for toy in ("toy/linear", "toy/cancelling"):
        for direction in ("noise", "denoise"):
            assert cell(table, "error", f"{toy} {direction}", "eap") < 1e-5
            assert cell(table, "auroc", f"{toy} {direction}", "eap") == 1.0


def test_the_fix_for_queries_and_keys_sees_what_attribution_misses(table):
    case = "toy/negative noise"
    assert cell(table, "missed", case, "eap-qk-fix") == 0 < cell(table, "missed", case, "eap")


def test_numbers_agree_with_scikit_learn_and_scipy():
    generator = torch.Generator().manual_seed(0)
    scores, effects = torch.randn(40, generator=generator), torch.randn(40, generator=generator)
    scores[5:9] = 0.0
    positive = torch.rand(40, generator=generator) < 0.3
    assert auroc(scores, positive) == pytest.approx(roc_auc_score(positive, scores.abs()))
    assert rank_correlation(scores, effects) == pytest.approx(spearmanr(scores.abs(), effects.abs())[0], abs=1e-3)


def test_rounding_errors_are_no_discoveries():
    positive = torch.tensor([True, True, False, False])
    assert auroc(torch.tensor([1.0, 1e-6, 0.0, 0.0]), positive) == 0.75
    assert auroc(torch.zeros(4), positive) == 0.5
    assert np.isnan(auroc(torch.ones(4), torch.ones(4, dtype=torch.bool)))
    assert np.isnan(rank_correlation(torch.zeros(4), torch.randn(4)))


def test_table_as_a_frame_and_on_disk(table, tmp_path):
    frame = table.to_table()
    assert len(frame) == 3 * 2 * len(TOYS)
    assert {"case", "method", "auroc", "circuit_auroc", "spearman", "error", "missed", "spurious", "seconds"} == set(
        frame.columns
    )
    table.save(tmp_path / "table")
    assert load(tmp_path / "table").equal(table)
    assert len([table.figure(i) for i in range(len(table.plots))]) == 7


def test_a_method_without_effects_has_no_error_and_a_refusal_is_noted(monkeypatch):
    monkeypatch.setattr(edge_scores, "EFFECTS", ("exact",))
    made = ground_truth_table(["eap"], ["toy/and"], n=2)
    assert np.isnan(cell(made, "error", "toy/and noise", "eap"))
    assert cell(made, "auroc", "toy/and noise", "eap") == 1.0
    assert np.isnan(cell(made, "auroc", "toy/and denoise", "eap"))
    refused = ground_truth_table(["eap"], ["toy/and"], n=1)
    assert any("eap refuses toy/and" in note and "the task has one pair" in note for note in refused.notes)
    assert np.isnan(cell(refused, "auroc", "toy/and noise", "eap"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"methods": ["eep"]}, "did you mean 'eap'"),
        ({"toys": ["toy/adn"]}, "toy/and"),
        ({"directions": ["noize"]}, "did you mean 'noise'"),
        ({"methods": []}, "at least one method"),
    ],
)
def test_unknown_names_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        ground_truth_table(**wrong)
