"""Eigenvalue scores against the eigenvalues of the whole [vocab, vocab] matrices."""

from __future__ import annotations

import copy

import pytest
import torch

import interp
from interp.heads import eigenvalue_scores
from interp.heads.rotating import rotation
from interp.heads.weights import folded_heads, folded_unembedding
from tests.tiny_models import TINY, tiny


def whole(model, circuit: str, layer: int, head: int, offset: int = 0) -> float:
    weights, W_E = folded_heads(model, layer), model.W_E.double()
    W_E = W_E - W_E.mean(0)
    read = {name: getattr(weights, name)[head].double() for name in ("W_Q", "W_K", "W_V", "W_O")}
    if circuit == "OV":
        square = W_E @ read["W_V"] @ read["W_O"] @ folded_unembedding(model).double()
    else:
        turn = rotation(model, layer, offset).double() if offset else torch.eye(12, dtype=torch.float64)
        square = W_E @ read["W_Q"] @ turn @ read["W_K"].T @ W_E.T
    eigenvalues = torch.linalg.eigvals(square)
    return float(eigenvalues.sum().real / eigenvalues.abs().sum())


@pytest.mark.parametrize("name", TINY)
def test_scores_are_those_of_the_vocabulary_sized_matrix(name: str) -> None:
    model = tiny(name)
    score = eigenvalue_scores(model).values["score"]
    for circuit in ("OV", "QK"):
        ours = float(score.sel(circuit=circuit, layer=1, head=2).data)
        assert ours == pytest.approx(whole(model, circuit, 1, 2), abs=1e-3)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_scores_of_one_head_are_the_same_in_both_results(name: str) -> None:
    """Both take the mean over words out, which a large common part of all embeddings makes visible."""
    model = copy.deepcopy(tiny(name))
    model.original_model.get_input_embeddings().weight.data += 0.5
    score = eigenvalue_scores(model).values["score"]
    spectra = interp.heads.decompose(model, "1.2", n_random=2).values["score"]
    for circuit in ("OV", "QK"):
        ours = float(score.sel(circuit=circuit, layer=1, head=2).data)
        assert ours == pytest.approx(float(spectra.sel(circuit=f"1.2 {circuit}").data), abs=1e-4)


def test_captions_name_the_mean_and_the_offset() -> None:
    caption = eigenvalue_scores(tiny("llama")).plots[0].caption
    assert "Mean over words removed" in caption
    assert eigenvalue_scores(tiny("llama"), "OV").plots[0].title == "Eigenvalue scores of OV circuits"
    assert "QK without rotation (offset 0)" in caption
    assert "a key 3 tokens before" in eigenvalue_scores(tiny("llama"), offset=3).plots[0].caption
    assert "offset" not in eigenvalue_scores(tiny("llama"), "OV").plots[0].caption


def test_qk_scores_state_the_offset() -> None:
    found = eigenvalue_scores(tiny("llama"), "QK", offset=3)
    assert found.settings["offset"] == 3
    assert float(found.values["score"].sel(circuit="QK", layer=2, head=0).data) == pytest.approx(
        whole(tiny("llama"), "QK", 2, 0, 3), abs=1e-3
    )


def test_the_toys_heads() -> None:
    """The decoy of layer 1 attends to its own token: a perfect match; the induction head copies into the output."""
    score = eigenvalue_scores(interp.load_model("toy/induction")).values["score"]
    assert float(score.sel(circuit="QK", layer=1, head=1).data) == pytest.approx(1.0, abs=1e-5)
    assert float(score.sel(circuit="OV", layer=1, head=0).data) == pytest.approx(1.0, abs=1e-5)
    assert float(score.sel(circuit="OV", layer=0, head=1).data) != 1.0  # it writes junk, which no logit reads
