"""Virtual weights against whole products, composition scores, TransformerLens, and the toy's known circuit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from transformer_lens import FactoredMatrix

import interp
from interp.errors import InputError
from interp.heads.matrices.factored import Factored
from interp.heads.matrices.token_pairs import largest_pairs, like_with_like
from interp.heads.rotating import rotation
from interp.heads.weights import folded_heads
from interp.results import Axis, Values, load
from tests.tiny_models import TINY, tiny


def plain(model: object, kind: str, offset: int = 0) -> torch.Tensor:
    """The definition with whole matrices, from head 0.1 to head 2.3."""
    first, second = folded_heads(model, 0), folded_heads(model, 2)
    turn = rotation(model, 2, offset) if offset else torch.eye(12)
    attention = second.W_Q[3] @ turn @ second.W_K[3].T
    read = {"q": attention, "k": attention.T, "v": second.W_V[3] @ second.W_O[3]}[kind]
    return first.W_V[1] @ first.W_O[1] @ read


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("kind", ["q", "k", "v"])
def test_singular_values_and_score_are_those_of_the_whole_product(name: str, kind: str) -> None:
    model = tiny(name)
    offset = 2 if name == "llama" and kind != "v" else 0
    found = interp.heads.virtual_weights(model, "0.1", "2.3", kind, offset=offset, n=2, n_pairs=2, n_random=2)
    own = found.values["singular_value"].sel(line="actual").data
    theirs = torch.linalg.svdvals(plain(model, kind, offset).double())[:12].float()
    torch.testing.assert_close(own, theirs, rtol=1e-4, atol=1e-5 * float(theirs[0]))
    score = interp.heads.composition_scores(model, kind, offset=offset, n_random=2).values["score"]
    expected = float(score.sel(source="0.1", destination="2.3").data)
    assert float(found.values["score"].data) == pytest.approx(expected, rel=1e-4)


def test_transformer_lens_finds_the_same() -> None:
    from tests.tiny_models import tiny_gpt2

    folded = tiny_gpt2()
    folded.enable_compatibility_mode()
    first, second = folded.blocks[0].attn, folded.blocks[2].attn
    theirs = FactoredMatrix(first.W_V[1], first.W_O[1]) @ FactoredMatrix(second.W_V[3], second.W_O[3])
    own = interp.heads.virtual_weights(tiny("gpt2"), "0.1", "2.3", "v", n_pairs=0, n_random=2)
    ours = own.values["singular_value"].sel(line="actual").data
    torch.testing.assert_close(ours, theirs.S[:12], rtol=1e-3, atol=1e-3)


def test_turned_heads_keep_their_norm_and_lose_their_fit() -> None:
    """A mean over random turns of the squared score is 1 / d_model, whatever the two matrices are."""
    found = interp.heads.virtual_weights(tiny("llama"), "0.1", "2.3", "q", n_pairs=0, n_random=200)
    assert float(found.values["control_score"].data.pow(2).mean()) == pytest.approx(1 / 48, rel=0.05)


def test_the_toys_induction_head_looks_for_what_followed_its_own_token() -> None:
    found = interp.heads.virtual_weights(interp.load_model("toy/induction"), "0.0", "1.0", "k", n=2, top=1)
    assert float(found.values["own_token"].data) == 1.0
    assert float(found.values["control_own_token"].data.max()) < 0.6
    assert all(row["reads"] == row["query"] for row in found.pairs().to_dict("records"))
    assert float(found.values["score"].data) > 2 * float(found.values["control_score"].data.max())
    assert all(row["reads"] == row["query"] for row in found.words().to_dict("records"))


@pytest.mark.parametrize("n", [1, 7, 40])
def test_largest_pairs_are_those_of_the_whole_matrix(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interp.heads.matrices.token_pairs.CHUNK_BYTES", 4 * 60 * 3)
    generator = torch.Generator().manual_seed(0)
    rows, columns = torch.randn(50, 8, generator=generator), torch.randn(60, 8, generator=generator)
    rows *= torch.rand(50, 1, generator=generator)
    matrix = Factored(torch.randn(8, 3, generator=generator), torch.randn(3, 8, generator=generator))
    every = rows @ matrix.whole @ columns.T
    found = largest_pairs(matrix, rows, columns, n)
    sizes = every.flatten().topk(n).values
    torch.testing.assert_close(every[found.index[:, 0], found.index[:, 1]], sizes, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found.size, sizes / every.pow(2).mean().sqrt(), rtol=1e-4, atol=1e-4)


def test_like_with_like_is_the_share_of_rows_whose_diagonal_is_largest() -> None:
    rows = torch.eye(6)
    matrix = torch.eye(6)
    matrix[1, 4] = 2.0
    assert float(like_with_like(Factored(matrix, torch.eye(6)), rows, rows)) == pytest.approx(5 / 6)


def test_results_are_stored_and_drawn(tmp_path: object) -> None:
    found = interp.heads.virtual_weights(tiny("llama"), "0.1", "2.3", offset=1, n=3, n_pairs=4, n_random=3)
    assert load(found.save(tmp_path / "found")).equal(found)  # type: ignore[operator]
    assert list(found.pairs().columns) == ["reads", "query", "size (SD)"]
    assert list(found.words(2).columns) == ["end", "reads", "query"]
    assert len(found.words(2)) == 4
    assert [trace.name for trace in found.figure().data if trace.name] == ["actual", "turned at random"]
    assert all("QK of 2.3 for a key 1 token before" in plot.caption for plot in found.plots)
    plain = interp.heads.virtual_weights(tiny("llama"), "0.1", "2.3", n=2, n_pairs=0, n_random=2)
    assert all("QK of 2.3 without rotation (offset 0)" in plot.caption for plot in plain.plots)
    values = interp.heads.virtual_weights(tiny("llama"), "0.1", "2.3", "v", n=2, n_pairs=0, n_random=2)
    assert not any("offset" in plot.caption for plot in values.plots)


def test_the_verdict_is_held_against_all_turns() -> None:
    found = interp.heads.virtual_weights(interp.load_model("toy/induction"), "0.0", "1.0", "k", n=2, top=1, n_pairs=0)
    assert found.verdict().startswith("100.0% of 13 words")
    assert found.verdict().endswith("less than here in 20 of 20 turns: strong like-with-like.")
    for own, turned, how in (
        (0.007, [0.0] * 19, "19 of 19 turns: weak like-with-like"),
        (0.007, [0.0] * 18 + [0.02], "18 of 19 turns: no like-with-like"),
        (0.007, [0.0] * 18 + [0.007], "18 of 19 turns: no like-with-like"),
        (0.0, [0.0] * 19, "0 of 19 turns: no like-with-like"),
        (0.6, [0.01] * 38 + [0.7], "38 of 39 turns: strong like-with-like"),
        (0.6, [0.01] * 18, "18 of 18 turns: too few turns to tell (19 are needed)"),
    ):
        draws = Axis("draw", tuple(range(len(turned))))
        values = {"own_token": replace(found.values["own_token"], data=torch.tensor(own))}
        values |= {"control_own_token": Values(torch.tensor(turned), (draws,))}
        one = replace(found, values={**found.values, **values}, plots=())
        assert one.verdict().endswith(f"{how}."), (own, turned)


def test_what_is_aligned_by_construction_stands_above_all_turns() -> None:
    found = interp.heads.virtual_weights(interp.load_model("toy/induction"), "0.0", "1.0", "k", n=1, top=1, n_pairs=0)
    table = found.beside_turns()
    assert table["turns below"].tolist() == ["20 of 20", "20 of 20"]
    assert (table["least"] <= table["turned: mean"]).all()
    assert (table["turned: mean"] <= table["most"]).all()
    assert (table["most"] < table["here"]).all()
    assert len(set(found.values["control_own_token"].data.tolist())) > 1, "every turn is measured"


def test_random_heads_stand_in_the_middle_of_the_turns() -> None:
    model, below = tiny("llama"), []
    for source in range(4):
        for destination in range(4):
            asked = {"n": 1, "top": 1, "n_pairs": 0, "n_random": 19}
            found = interp.heads.virtual_weights(model, f"0.{source}", f"2.{destination}", "v", **asked)
            below.append((found.values["control_score"].data < found.values["score"].data).float().mean())
    assert 0.3 < float(torch.stack(below).mean()) < 0.7


@pytest.mark.parametrize("n", [3, 6])
def test_of_many_words_some_are_asked_against_all(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interp.heads.matrices.token_pairs.SAMPLED", n)
    monkeypatch.setattr("interp.heads.matrices.token_pairs.CHUNK_BYTES", 4 * 6 * 2)
    generator = torch.Generator().manual_seed(6)
    matrix = Factored(torch.randn(6, 6, generator=generator) + torch.eye(6), torch.eye(6))
    hits = matrix.whole.argmax(1) == torch.arange(6)
    assert 0 < int(hits[:: 6 // n].sum()) < n
    share = like_with_like(matrix, torch.eye(6), torch.eye(6))
    assert float(share) == pytest.approx(float(hits[:: 6 // n].float().mean()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("2.3", "0.1"), "head 2.3 writes nothing that 0.1 reads"),
        (("0.1", "0.2"), "name an earlier layer"),
        (("0.1", "7.0"), "layer 7"),
        (("0.1", "2.3", "z"), "there is no kind of composition 'z'"),
        (("0.1", "m2"), "'m2' names no head"),
        (("0.1", "2.3", {"n_pairs": -1}), "n_pairs=-1 is no number of pairs"),
        (("0.1", "2.3", {"n_random": 1}), "n_random=1 gives no control"),
    ],
)
def test_mistakes_are_one_sentence(options: tuple[Any, ...], message: str) -> None:
    *heads, named = options if isinstance(options[-1], dict) else (*options, {})
    with pytest.raises(InputError, match=message):
        interp.heads.virtual_weights(tiny("llama"), *heads, **named)
