"""The matrices of named parts against whole products, and against the model's own attention scores."""

from __future__ import annotations

import pytest
import torch

import interp
from interp import sites
from interp.errors import InputError
from interp.heads.matrices.parts import as_parts, matrices_of, part_name
from interp.heads.weights import divided, folded_heads
from tests.tiny_models import TINY, random_tokens, tiny


def test_parts_have_names() -> None:
    model = tiny("llama")
    assert as_parts(model, ["1.2", "m3", (0, 1), 2, "a1.2", "mlp3"]) == [(1, 2), 3, (0, 1), 2]
    assert as_parts(model, "m1") == [1]
    assert as_parts(model, (2, 3)) == [(2, 3)]
    assert [part_name(part) for part in [(1, 2), 3]] == ["1.2", "m3"]


@pytest.mark.parametrize("name", TINY)
def test_every_model_has_matrices_of_the_right_kind(name: str) -> None:
    model = tiny(name)
    parts = ["1.3"] if name == "native-attention-only" else ["1.3", "m1"]
    found = {matrix.name: matrix for matrix in matrices_of(model, parts)}
    gated = name in ("llama", "gemma2", "native-rotary")
    expected = ["1.3 OV", "1.3 QK"] + ["m1 W_in"] * (len(parts) > 1) + ["m1 W_gate"] * gated
    assert list(found) == expected + ["m1 W_out"] * (len(parts) > 1)
    weights = folded_heads(model, 1)
    torch.testing.assert_close(found["1.3 OV"].factored.whole, weights.W_V[3] @ weights.W_O[3])
    torch.testing.assert_close(found["1.3 QK"].factored.whole, weights.W_Q[3] @ weights.W_K[3].T)
    generator = torch.Generator().manual_seed(0)
    assert all(matrix.random(generator).shape == matrix.factored.shape for matrix in found.values())


@pytest.mark.parametrize("offset", [0, 1, 4])
def test_query_and_key_of_an_offset_are_the_models_scores_between_two_positions(offset: int) -> None:
    """No bias, and grouped keys: stream over scale, times QK, times stream over scale, is the score times √d_head."""
    model, tokens = tiny("llama"), random_tokens(2, 9)
    acts = interp.capture(model, tokens, [sites.resid_pre(2), sites.scores(2)])
    x = divided(model.blocks[2].ln1, acts[sites.resid_pre(2)])
    for head in (0, 3):
        (matrix,) = matrices_of(model, (2, head), "QK", offset)
        for query in (4, 8):
            ours = torch.einsum("bd,de,be->b", x[:, query], matrix.factored.whole, x[:, query - offset])
            theirs = acts[sites.scores(2)][:, head, query, query - offset]
            torch.testing.assert_close(ours / 12**0.5, theirs, atol=1e-4, rtol=1e-4)


def test_a_random_matrix_is_folded_as_the_models_own() -> None:
    """Where LayerNorm centres, no random matrix reads or writes the mean either."""
    (circuit,) = matrices_of(tiny("gpt2"), "1.0", "OV")
    drawn = circuit.random(torch.Generator().manual_seed(0))
    assert drawn.left.mean(0).abs().max() < 1e-5
    assert drawn.right is not None
    assert drawn.right.mean(-1).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("parts", "matrices", "message"),
    [
        ("9.0", None, "layer 9 does not exist: the layers are 0 to"),
        ("1.9", None, "head 9 does not exist"),
        ("m7", None, "layer 7 does not exist: the layers are 0 to 3"),
        ("head", None, "'head' names no part; write '18.6'"),
        ([], None, "no parts were given"),
        ("1.0", "W_in", "1.0: a head has OV and QK; W_in goes with an MLP"),
        ("m1", "OV", "m1: an MLP has W_in, W_out and perhaps W_gate; OV goes with a head"),
        ("m20", "OV", "m20: an MLP has"),
        (["1.0", "m1"], "W_on", "did you mean"),
    ],
)
def test_mistakes_are_one_sentence(parts: object, matrices: str | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        matrices_of(tiny("llama"), parts, matrices)  # type: ignore[arg-type]


def test_offsets_mean_something_for_rotary_positions_inside_the_context_only() -> None:
    with pytest.raises(InputError, match="rotary positions only"):
        matrices_of(tiny("gpt2"), "1.0", "QK", offset=2)
    with pytest.raises(InputError, match="no key lies 64 tokens back in a context of 64"):
        matrices_of(tiny("llama"), "1.0", "QK", offset=64)
    with pytest.raises(InputError, match="has no MLP; name heads"):
        matrices_of(tiny("native-attention-only"), "m1")
