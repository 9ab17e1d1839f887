"""Singular directions as words: values against plain SVD, words on models where they are known, random controls."""

from __future__ import annotations

import pytest
import torch

import interp
from interp.errors import InputError
from interp.heads.matrices.vocabulary import Vocabulary
from interp.heads.weights import folded_heads, folded_unembedding
from interp.models.tokens import to_strings
from interp.results import load
from tests.tiny_models import N_VOCAB, tiny


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2"])
def test_singular_values_are_those_of_the_whole_matrix(name: str) -> None:
    model = tiny(name)
    found = interp.heads.singular_directions(model, ["2.1", "m1"], n=4, n_random=2)
    weights = folded_heads(model, 2)
    whole = torch.linalg.svdvals((weights.W_V[1] @ weights.W_O[1]).double()).float()
    torch.testing.assert_close(
        found.values["singular_value"].sel(matrix="2.1 OV").data, whole[:4], rtol=1e-4, atol=1e-5
    )
    share = found.values["share"].sel(matrix="2.1 OV").data
    torch.testing.assert_close(share, whole[:4] ** 2 / (whole**2).sum(), rtol=1e-4, atol=1e-5)


def test_written_words_are_the_largest_logits_of_the_direction() -> None:
    model = tiny("gpt2")
    found = interp.heads.singular_directions(model, "2.1", "OV", n=2, top=3, n_random=2)
    weights = folded_heads(model, 2)
    v = torch.linalg.svd((weights.W_V[1] @ weights.W_O[1]).double()).Vh[0].float()
    order = (v @ folded_unembedding(model)).argsort(descending=True)
    ordinary = order[order > 2]  # w1 and w2 are special tokens, w0 stands for unknown words
    words = [found.texts["2.1 OV"][row][3:] for row in (0, 1)]
    ends = [to_strings(model, ordinary[:3]), to_strings(model, ordinary.flip(0)[:3])]
    assert words in (ends, ends[::-1]), "which end is + is arbitrary"


def test_a_copying_head_reads_the_words_it_writes() -> None:
    found = interp.heads.singular_directions(interp.load_model("toy/induction"), "1.0", "OV", n=3, top=1, n_random=2)
    rows = [row for end, row in zip(found.values["1.0 OV"].axis("end").labels, found.texts["1.0 OV"]) if end[0] != "r"]
    assert len(rows) == 6
    assert all(read == written for read, written in rows)


def test_a_planted_direction_stands_out_and_random_weights_do_not() -> None:
    model = tiny("llama")
    vocabulary = Vocabulary(model)
    planted = vocabulary.written_rows[40:41]
    read = vocabulary.read("writes", torch.cat([planted, torch.randn(1, 48)]), top=1)
    assert to_strings(model, read.ids[0, 0]) == [to_strings(model, vocabulary.ids[40:41])[0]]
    assert read.standing[0, 0, 0] > 1.5 * read.standing[1].max()
    found = interp.heads.singular_directions(model, ["1.0", "2.0", "3.0", "m1"], n=6, n_random=10)
    above = found.values["above_chance"].data
    assert above.mean().abs() < 0.5, "the weights are random numbers"
    assert (found.values["concentration"].data > found.values["control_high"].data[:, None]).float().mean() < 0.15


def test_alike_words_are_coherent_beyond_the_direction_they_were_chosen_by() -> None:
    model = tiny("llama")
    vocabulary = Vocabulary(model)
    direction, other = torch.linalg.qr(torch.randn(48, 2, generator=torch.Generator().manual_seed(1))).Q.T
    rows = torch.randn(len(vocabulary.ids), 48, generator=torch.Generator().manual_seed(2))
    rows[:4] += 12 * direction  # four words along the direction and nothing else in common
    vocabulary.written_rows = rows - rows.mean(0)
    alone = vocabulary.read("writes", direction[None], top=4)
    rows[:4] += 12 * other  # and now something else
    vocabulary.written_rows = rows - rows.mean(0)
    alike = vocabulary.read("writes", direction[None], top=4)
    assert sorted(alike.ids[0, 0].tolist()) == sorted(vocabulary.ids[:4].tolist())
    assert alone.coherence[0, 0].abs() < 0.2
    assert alike.coherence[0, 0] > 0.6


def test_the_same_seed_gives_the_same_and_results_are_stored(tmp_path: object) -> None:
    model = tiny("llama")
    first, again = (interp.heads.singular_directions(model, "1.0", n=2, n_random=3, offset=2) for _ in range(2))
    assert first.equal(again)
    assert load(first.save(tmp_path / "found")).equal(first)  # type: ignore[operator]
    assert first.settings["offset"] == 2
    assert "another offset is another matrix" in first.plots[2].caption
    frame = first.words("1.0 QK")
    assert list(frame.columns) == ["end", "share", "query", "key"]
    assert list(frame["end"]) == ["0 +", "0 −", "1 +", "1 −"]
    assert first.figure(0).layout.title.text.startswith("Singular directions")
    assert first.figure(1).data[0].text is not None


def test_the_inner_basis_of_a_head_does_not_matter() -> None:
    """Values of a group turned, and the outputs of both its heads turned back: the same model in other numbers."""
    from tests.tiny_models import tiny_llama

    model = tiny_llama()
    turn = torch.linalg.qr(torch.randn(12, 12, generator=torch.Generator().manual_seed(0))).Q
    attention = model.original_model.model.layers[1].self_attn
    attention.v_proj.weight[:12] = turn @ attention.v_proj.weight[:12]
    for head in (0, 1):
        columns = slice(12 * head, 12 * head + 12)
        attention.o_proj.weight[:, columns] = attention.o_proj.weight[:, columns] @ turn.T
    before, after = (interp.heads.singular_directions(one, "1.1", n=3, n_random=2) for one in (tiny("llama"), model))
    assert before.texts == after.texts
    for name in ("singular_value", "above_chance", "share", "1.1 OV"):
        torch.testing.assert_close(before.values[name].data, after.values[name].data, rtol=1e-3, atol=1e-3)


def test_queries_and_keys_turn_with_the_offset() -> None:
    model = tiny("llama")
    near, far = (interp.heads.singular_directions(model, "1.0", n=3, n_random=2, offset=offset) for offset in (0, 5))
    values = [found.values["singular_value"] for found in (near, far)]
    assert not torch.allclose(values[0].sel(matrix="1.0 QK").data, values[1].sel(matrix="1.0 QK").data, rtol=1e-3)
    torch.testing.assert_close(values[0].sel(matrix="1.0 OV").data, values[1].sel(matrix="1.0 OV").data)


def test_the_share_of_all_that_was_looked_through_is_counted_by_side() -> None:
    found = interp.heads.singular_directions(tiny("llama"), ["1.0", "2.0", "m1"], n=3, n_random=5, n_drawn=2)
    frame = found.standing_out().set_index("side")
    assert frame["directions"].to_dict() == {"reads": 12, "writes": 9, "query": 6, "key": 6}
    passed = found.values["concentration"].data > found.values["control_high"].data[:, None]
    assert frame["stand out"].sum() == passed.sum()
    assert frame["share"]["writes"] == pytest.approx(frame["stand out"]["writes"] / 9)
    assert len(found.plots) == 3, "the overview, and the words of two matrices"


def test_captions_say_which_query_key_matrix_and_whose_random_one() -> None:
    for offset, words in ((0, "QK without rotation (offset 0)"), (2, "QK for a key 2 tokens before the query")):
        found = interp.heads.singular_directions(tiny("llama"), "1.0", n=2, n_random=2, offset=offset)
        overview, of_ov, of_qk = (plot.caption for plot in found.plots)
        assert words in overview
        assert words in of_qk
        assert words not in of_ov
        assert "the same for all heads of a layer" in of_ov
    (caption, *_) = (plot.caption for plot in interp.heads.singular_directions(tiny("llama"), "m1", n=2).plots)
    assert "QK" not in caption


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 13}, "n=13 directions of a matrix with 12"),
        ({"n_random": 1}, "at least 2 random matrices"),
        ({"top": N_VOCAB}, "choose from 1 to 97"),
        ({"offset": -1}, "is after it"),
    ],
)
def test_mistakes_are_one_sentence(options: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        interp.heads.singular_directions(tiny("llama"), "1.0", **options)
