"""What SmolLM2's weights are known to say: its induction circuit, its copying heads, its head of modal verbs."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import interp
from interp import heads
from interp.heads.weights import fold_norm, folded_heads

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model() -> Any:
    return interp.load_model("smollm2-135m")


def test_the_previous_token_head_composes_with_the_keys_of_the_induction_heads(model: Any) -> None:
    """Measured on prompts before: previous-token head 16.0, induction heads 17.3, 17.4, 17.5, 18.6, 18.7, 20.6."""
    labels = heads.composition_graph(model, "k", offset=1, max_edges=20).values["above"].axis("edge").labels
    assert {f"a16.0->a{head}.k" for head in ("17.3", "17.4", "17.5", "18.6", "18.7", "20.6")} <= {*map(str, labels)}


def test_induction_heads_copy_and_one_name_head_does_the_opposite(model: Any) -> None:
    rows = heads.decompose(model, ["18.6", "17.3", "23.3"], "OV").summary().set_index("circuit")
    assert (rows.loc[["18.6 OV", "17.3 OV"], "score"] > 3 * rows.loc[["18.6 OV", "17.3 OV"], "turned, high"]).all()
    assert rows.loc["23.3 OV", "score"] < rows.loc["23.3 OV", "turned, low"]


def test_a_head_writes_modal_verbs_and_random_matrices_do_not(model: Any) -> None:
    found = heads.singular_directions(model, "26.5", "OV", n=2)
    assert " will" in found.words("26.5 OV", 1)["writes"].iloc[0]
    assert float(found.values["above_chance"].sel(side="26.5 OV writes", direction=0).data) > 8
    assert float(found.values["above_chance"].sel(side="26.5 OV reads", direction=0).data) < 3


def test_the_score_of_an_induction_head_hangs_on_the_mean_over_words(model: Any) -> None:
    """The two numbers that README and docstrings give for OV of 18.6: without the mean, and with it."""
    assert heads.eigenvalue_scores(model, "OV").values["score"].data[0, 18, 6] == pytest.approx(0.59, abs=0.005)
    weights = folded_heads(model, 18)
    unembedding = fold_norm(model.ln_final, model.W_U.float())
    whole = weights.W_O[6] @ unembedding @ model.W_E.float() @ weights.W_V[6]
    eigenvalues = torch.linalg.eigvals(whole.double())
    assert float(eigenvalues.sum().real / eigenvalues.abs().sum()) == pytest.approx(0.28, abs=0.005)
