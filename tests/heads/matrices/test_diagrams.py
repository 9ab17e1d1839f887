"""Hinton diagrams of weights: the numbers, the toy that copies, what cannot be shown."""

from __future__ import annotations

import pytest
import torch

import interp
from interp.errors import InputError
from interp.heads.matrices.vocabulary import Vocabulary
from interp.heads.weights import folded_heads
from interp.results import load
from tests.tiny_models import tiny


def test_a_copying_head_raises_what_it_attends_to_and_nothing_else() -> None:
    found = interp.heads.hinton(interp.load_model("toy/induction"), "1.0", "OV", words=list(range(6)))
    weights = found.values["weights"].data
    assert (weights.argmax(1) == torch.arange(6)).all()
    assert (weights.diagonal() > 5 * (weights - weights.diagonal().diag()).abs().max()).all()


def test_between_words_it_is_the_whole_vocabulary_matrix() -> None:
    model = tiny("llama")
    found = interp.heads.hinton(model, "1.2", "OV", words=["w7", "w30", "w5"])
    weights, vocabulary = folded_heads(model, 1), Vocabulary(model)
    whole = vocabulary.read_rows @ weights.W_V[2] @ weights.W_O[2] @ vocabulary.written_rows.T
    places = [vocabulary.ids.tolist().index(token) for token in (7, 30, 5)]
    torch.testing.assert_close(found.values["weights"].data, whole[places][:, places], rtol=1e-4, atol=1e-4)
    assert found.values["weights"].axis("reads").labels == ("w7", "w30", "w5")


@pytest.mark.parametrize(("part", "matrix"), [("1.2", "OV"), ("1.2", "QK"), ("m1", "W_in"), ("m1", "W_out")])
def test_the_corner_with_most_weight(part: str, matrix: str, tmp_path: object) -> None:
    found = interp.heads.hinton(tiny("llama"), part, matrix, n=6)
    (whole,) = (one.factored.whole for one in interp.heads.matrices.parts.matrices_of(tiny("llama"), part, matrix))
    shown = found.values["weights"]
    rows, columns = ([int(label) for label in axis.labels] for axis in shown.axes)
    torch.testing.assert_close(shown.data, whole[rows][:, columns])
    left_out = [i for i in range(len(whole)) if i not in rows]
    assert whole[rows].norm(dim=1).min() >= whole[left_out].norm(dim=1).max()
    assert float(found.values["share"].data) == pytest.approx(float(shown.data.pow(2).sum() / whole.pow(2).sum()))
    assert load(found.save(tmp_path / "found")).equal(found)  # type: ignore[operator]
    assert len(found.figure().data) == 3


def test_what_is_found_is_said_in_a_sentence() -> None:
    toy = interp.load_model("toy/induction")
    told = interp.heads.hinton(toy, "1.0", "OV", words=list(range(6))).finding()
    assert "for 6 of 6 words" in told
    corner = interp.heads.hinton(tiny("llama"), "1.2", "OV", n=48)
    assert "hold 100.0% of the squared norm" in corner.finding()
    assert "would hold 100.0%" in corner.finding()
    assert "mean over words removed" in interp.heads.hinton(toy, "1.0", "OV", words=[0, 1]).plots[0].caption.lower()


@pytest.mark.parametrize("offset", [0, 2])
def test_query_key_diagrams_say_which_matrix_they_show(offset: int) -> None:
    caption = interp.heads.hinton(tiny("llama"), "1.2", "QK", n=4, offset=offset).plots[0].caption
    assert ("QK for a key 2 tokens before" if offset else "QK without rotation (offset 0)") in caption
    assert "QK" not in interp.heads.hinton(tiny("gpt2"), "1.2", "QK", n=4).plots[0].caption, "no rotary positions"


@pytest.mark.parametrize(
    ("part", "matrix", "options", "message"),
    [
        ("m1", "W_in", {"words": ["w7"]}, "neurons on one side"),
        ("1.2", "OV", {"words": ["no such word"]}, "no single token"),
        ("1.2", "OV", {"words": [100]}, "no token id below 100"),
        ("1.2", "OV", {"words": ["w1"]}, "no single token"),
        ("1.2", "OV", {"n": 200}, "from 1 to 80"),
        ("1.2", "W_in", {}, "a head has OV and QK"),
    ],
)
def test_mistakes_are_one_sentence(part: str, matrix: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        interp.heads.hinton(tiny("llama"), part, matrix, **options)  # type: ignore[arg-type]
