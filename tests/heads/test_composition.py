"""Composition scores against plain loops over whole matrices and against TransformerLens."""

from __future__ import annotations

import pytest
import torch

import interp
from interp.errors import InputError
from interp.heads import composition_scores
from interp.heads.composition import random_composition
from interp.heads.rotating import rotation
from interp.heads.weights import folded_heads
from tests.tiny_models import TINY, tiny


def plain(model, kind: str, source: tuple[int, int], destination: tuple[int, int], offset: int = 0) -> float:
    """The definition, with d_model x d_model matrices."""
    first, second = folded_heads(model, source[0]), folded_heads(model, destination[0])
    written = first.W_V[source[1]] @ first.W_O[source[1]]
    turn = rotation(model, destination[0], offset) if offset else torch.eye(12)
    attention = second.W_Q[destination[1]] @ turn @ second.W_K[destination[1]].T
    values = second.W_V[destination[1]] @ second.W_O[destination[1]]
    read = {"q": attention, "k": attention.T, "v": values}[kind]
    return float((written @ read).norm() / (written.norm() * read.norm()))


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("kind", ["q", "k", "v"])
def test_every_pair_is_the_definition(name: str, kind: str) -> None:
    model = tiny(name)
    score = composition_scores(model, kind, n_random=2).values["score"]
    for source in ((0, 1), (1, 3)):
        for destination in ((1, 0), (2, 2)):
            ours = float(
                score.sel(source=f"{source[0]}.{source[1]}", destination=f"{destination[0]}.{destination[1]}").data
            )
            if source[0] >= destination[0]:
                assert ours != ours
            else:
                assert ours == pytest.approx(plain(model, kind, source, destination), rel=1e-4)


def test_queries_turn_with_the_offset_of_a_rotary_model() -> None:
    model = tiny("llama")
    near, far = (composition_scores(model, "k", offset=offset, n_random=2) for offset in (0, 4))
    pair = {"source": "0.1", "destination": "2.3"}
    assert float(far.values["score"].sel(**pair).data) == pytest.approx(plain(model, "k", (0, 1), (2, 3), 4), rel=1e-4)
    assert (near.settings["offset"], far.settings["offset"]) == (0, 4)
    # What is composed with is the key's subspace turned back onto the query's: V-composition knows no offset.
    assert composition_scores(model, "v", n_random=2).settings["offset"] is None


@pytest.mark.parametrize("kind", ["q", "k", "v"])
def test_transformer_lens_finds_the_same(kind: str) -> None:
    from tests.tiny_models import tiny_gpt2

    folded = tiny_gpt2()
    folded.enable_compatibility_mode()
    theirs = folded.all_composition_scores(kind.upper()).scores
    ours = composition_scores(tiny("gpt2"), kind, n_random=2).values["score"].data.view(3, 4, 3, 4)
    torch.testing.assert_close(ours.nan_to_num(0.0), theirs, atol=1e-5, rtol=1e-4)


def test_the_toys_induction_head_reads_the_previous_token_head_through_its_keys() -> None:
    model = interp.load_model("toy/induction")
    found = composition_scores(model, "k")
    (row,) = found.best(1).itertuples()
    assert (row.source, row.destination) == ("0.0", "1.0")
    assert row.score == pytest.approx(13**-0.5)  # 13 token directions, each read and written with gain 1
    assert row.score > 2 * float(found.values["baseline_high"].data)
    assert row.above == pytest.approx(row.score - float(found.values["baseline"].data))
    queries = composition_scores(model, "q", sources=["0.0"], destinations=["1.0"])
    assert queries.values["score"].data.item() == 0.0


def test_the_baseline_is_that_of_random_matrices() -> None:
    generator = torch.Generator().manual_seed(1)
    scores = []
    for _ in range(30):
        a, b, c, d = (torch.randn(48, 12, generator=generator) for _ in range(4))
        first, second = a @ b.T, c @ d.T
        scores.append((first @ second).norm() / (first.norm() * second.norm()))
    drawn = random_composition(48, 12, 100, seed=0)
    assert drawn.mean().item() == pytest.approx(torch.stack(scores).mean().item(), rel=0.02)
    assert torch.equal(drawn, random_composition(48, 12, 100, seed=0))


def test_heads_can_be_chosen() -> None:
    found = composition_scores(tiny("llama"), "v", sources=["0.1", "0.0"], destinations=[(2, 3)], n_random=2)
    assert found.values["score"].axis("source").labels == ("0.1", "0.0")
    assert found.values["above"].data.shape == (2, 1)
    with pytest.raises(InputError, match="kind of composition"):
        composition_scores(tiny("llama"), "z")
