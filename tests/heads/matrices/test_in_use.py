"""Weights with their inputs: variances of whole outputs, scores of the model, and tokens that can be checked."""

from __future__ import annotations

import pytest
import torch

import interp
from interp import sites
from interp.errors import InputError
from interp.heads.matrices.actual_inputs import received
from interp.heads.matrices.parts import matrices_of
from interp.hooks.prompts import prompt_tokens
from interp.results import load
from tests.tiny_models import TINY, random_tokens, tiny

TOKENS = random_tokens(4, 12)


def in_context(name: str, part: str, matrix: str, **options: object) -> interp.heads.WeightsInContext:
    return interp.heads.weights_in_context(tiny(name), part, matrix, TOKENS, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("matrix", ["OV", "QK", "W_in", "W_out"])
def test_shares_add_up_to_the_whole(name: str, matrix: str) -> None:
    if matrix.startswith("W") and name == "native-attention-only":
        pytest.skip("no MLP")
    offset = 1 if matrix == "QK" and name in ("llama", "gemma2", "gpt-neox", "native-rotary") else 0
    found = in_context(name, "m1" if matrix.startswith("W") else "1.2", matrix, offset=offset)
    torch.testing.assert_close(found.values["cumulative"].data[:, -1], torch.ones(len(found.values["share"].data)))


@pytest.mark.parametrize("matrix", ["W_in", "W_out", "OV"])
def test_shares_are_those_of_the_variance_of_whole_outputs(matrix: str) -> None:
    """The projection of what the whole matrix makes of the inputs, with plain SVD."""
    model = tiny("llama")
    (weights,) = matrices_of(model, "1.2" if matrix == "OV" else "m1", matrix)
    seen = received(model, weights, prompt_tokens(TOKENS), None, 0)
    whole = weights.factored.whole.double()
    made = seen.inputs.double() @ whole
    Vh = torch.linalg.svd(whole, full_matrices=False).Vh
    expected = (made @ Vh[0]).var() / made.var(0).sum()
    found = in_context("llama", "1.2" if matrix == "OV" else "m1", matrix).values["share"]
    assert float(found.sel(line="given the inputs").data[0]) == pytest.approx(float(expected), rel=1e-4)
    best = torch.linalg.eigvalsh(torch.cov((made if matrix != "OV" else seen.outputs.double()).mT)).flip(0)  # type: ignore[union-attr]
    assert float(found.sel(line="best directions").data[0]) == pytest.approx(float(best[0] / best.sum()), rel=1e-3)


def test_what_the_neurons_receive_is_what_the_model_gives_them() -> None:
    model = tiny("llama")
    (weights,) = matrices_of(model, "m1", "W_gate")
    seen = received(model, weights, prompt_tokens(TOKENS), None, 0)
    theirs = interp.capture(model, TOKENS, sites.mlp_pre(1))[sites.mlp_pre(1)]
    ours = seen.inputs @ weights.factored.whole
    torch.testing.assert_close(ours, theirs[seen.example, seen.position], atol=1e-4, rtol=1e-4)
    assert int(seen.position.min()) == 1, "first positions are left out"


@pytest.mark.parametrize("offset", [0, 3])
def test_terms_of_query_and_key_add_up_to_the_models_scores(offset: int) -> None:
    model = tiny("llama")
    (weights,) = matrices_of(model, "1.2", "QK", offset)
    seen = received(model, weights, prompt_tokens(TOKENS), offset, 0)
    parts = weights.factored.singular()
    assert seen.others is not None
    terms = (seen.inputs.double() @ parts.U) * parts.S * (seen.others.double() @ parts.V)
    scores = interp.capture(model, TOKENS, sites.scores(1))[sites.scores(1)][:, 2]
    theirs = scores[seen.example, seen.position, seen.position - offset].double()
    torch.testing.assert_close(terms.sum(1) / 12**0.5, theirs, atol=1e-4, rtol=1e-4)


def test_outputs_are_what_the_head_writes() -> None:
    model = tiny("llama")
    (weights,) = matrices_of(model, "1.2", "OV")
    seen = received(model, weights, prompt_tokens(TOKENS), None, 0)
    z = interp.capture(model, TOKENS, sites.z(1))[sites.z(1)][:, :, 2]
    theirs = (z @ model.blocks[1].attn.W_O[2])[seen.example, seen.position]
    torch.testing.assert_close(seen.outputs, theirs, atol=1e-5, rtol=1e-4)


def test_examples_are_the_tokens_furthest_along_a_direction() -> None:
    model = tiny("llama")
    found = in_context("llama", "m1", "W_in", n=2, top=1)
    (weights,) = matrices_of(model, "m1", "W_in")
    seen = received(model, weights, prompt_tokens(TOKENS), None, 0)
    direction = int(found.values["largest"].axis("direction").labels[0])
    share = found.values["share"].sel(line="given the inputs").data
    assert direction == int(share.argmax())
    along = seen.inputs.double() @ weights.factored.singular().U[:, direction]
    words = {f"«w{int(TOKENS[seen.example[i], seen.position[i]])}»" for i in (along.argmax(), along.argmin())}
    told = found.examples(1).query("direction == @direction")["text"]
    assert {text[text.index("«") : text.index("»") + 1] for text in told} == words


def test_tokens_without_a_text_stand_apart() -> None:
    model = interp.load_model("toy/induction")
    tokens = torch.tensor([[1, 12, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 3]])
    texts = interp.heads.weights_in_context(model, "1.0", "OV", tokens, n=1, top=12).examples(12)["text"]
    assert "6 7 8 9 10 11 12 «3»" in set(texts)
    assert "1 «12» 3 4" in set(texts)


def test_the_diagram_scales_rows_by_what_they_are_given() -> None:
    model = tiny("llama")
    found = in_context("llama", "m1", "W_out").values["weights"]
    inputs = [int(label) for label in found.axis("input").labels]
    (weights,) = matrices_of(model, "m1", "W_out")
    sd = received(model, weights, prompt_tokens(TOKENS), None, 0).inputs.std(0)[inputs]
    torch.testing.assert_close(found.data[1], found.data[0] * sd[:, None], rtol=1e-4, atol=1e-5)


def test_results_are_stored_and_drawn(tmp_path: object) -> None:
    found = in_context("llama", "1.2", "QK", offset=2)
    assert load(found.save(tmp_path / "found")).equal(found)  # type: ignore[operator]
    assert "a key 2 tokens before the query" in found.plots[0].caption
    assert list(found.summary()["share of"]) == ["weights alone", "given the inputs"]
    assert len(found.figure(1).data) == 6
    random = in_context("gpt2", "1.2", "QK")
    assert random.settings["offset"] is None
    assert "drawn at random" in random.plots[0].caption


@pytest.mark.parametrize(
    ("part", "matrix", "options", "message"),
    [
        ("1.2", "W_in", {}, "a head has OV and QK; W_in goes"),
        ("1.9", "OV", {}, "head 9 does not exist"),
        ("1.2", "OV", {"n": 0}, "n=0 directions with top=4 examples"),
        ("1.2", "QK", {"offset": 40}, "0 tokens with a key 40 tokens back"),
        ("1.2", "QK", {"offset": 64}, "in a context of 64"),
    ],
)
def test_mistakes_are_one_sentence(part: str, matrix: str, options: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        in_context("llama", part, matrix, **options)
