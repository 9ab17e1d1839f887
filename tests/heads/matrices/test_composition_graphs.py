"""The graph of composing heads: closed forms against drawn rotations, scores against the known function, the toy."""

from __future__ import annotations

import functools

import pytest
import torch

import interp
from interp.errors import InputError
from interp.heads.matrices.rotation_null import beyond_both, concentration, moments, upper_tail
from interp.results import load
from tests.tiny_models import TINY, tiny

D = 24


@functools.cache
def rotations() -> torch.Tensor:
    drawn = torch.randn(12000, D, D, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = torch.linalg.qr(drawn)
    return found.Q * found.R.diagonal(dim1=-2, dim2=-1).sign()[:, None]


@pytest.mark.parametrize("decay", [0.0, 0.7, 5.0], ids=["flat", "steep", "rank 1"])
def test_mean_spread_and_tail_are_those_of_drawn_rotations(decay: float) -> None:
    """Matrices with chosen singular values, from flat to all but rank 1."""
    generator = torch.Generator().manual_seed(1)
    values = torch.exp(-decay * torch.arange(4.0, dtype=torch.float64))
    values = torch.diag(values / values.norm())
    basis = torch.linalg.qr(torch.randn(D, 8, generator=generator, dtype=torch.float64)).Q
    written, read = values @ basis[:, :4].T, basis[:, 4:] @ values
    squared = (written @ rotations() @ read).pow(2).sum((1, 2))
    mean, variance = moments(concentration(written[None]), concentration(read[None], of_rows=False), D)
    assert squared.mean().item() == pytest.approx(mean, rel=0.05)
    assert squared.var().item() == pytest.approx(variance.item(), rel=0.12)
    for share in (0.5, 0.1, 0.02):
        threshold = squared.quantile(1 - share)
        ratio = upper_tail(threshold[None, None], mean, variance).item() / share
        assert 0.7 < ratio < 1.5


def test_rows_and_columns_explain_themselves() -> None:
    generator = torch.Generator().manual_seed(0)
    logs = 3 * torch.randn(20, 1, generator=generator) + 3 * torch.randn(1, 30, generator=generator)
    logs = logs + 0.1 * torch.randn(20, 30, generator=generator)
    logs[4, 7] += 2.0
    logs[:, :5] = torch.nan
    found = beyond_both(logs.double())
    assert found[:, 5:].quantile(0.5, dim=0).abs().max() < 1e-9, "columns have lost their medians, of twenty numbers"
    assert found[4, 7] > 10
    found[4, 7] = 0
    assert found.nan_to_num().abs().max() < 5
    assert found[:, 5:].flatten().std().item() == pytest.approx(1, abs=0.2)


def test_without_a_spread_the_second_test_is_left_out_and_said_so() -> None:
    """Of the toy's four pairs, rows and columns explain all but rounding: 6.65e+13 deviations of nothing."""
    found = interp.heads.composition_graph(interp.load_model("toy/induction"))
    assert found.untested() == ["q", "k", "v"]
    assert found.values["pair_over_both_heads"].data.isnan().all()
    assert found.counts()["specific"].isna().all()
    assert found.tests() == "the first test"
    assert "1 pair that passes the first test" in found.plots[0].caption
    assert found.edges()["over both heads"].isna().all()
    assert list(found.values["above"].axis("edge").labels) == ["a0.0->a1.0.k"], "by the first test alone"
    assert "the first decides alone" in found.plots[0].caption


@pytest.mark.parametrize("offset", [0, 3])
def test_the_caption_says_which_matrices(offset: int) -> None:
    caption = interp.heads.composition_graph(tiny("llama"), offset=offset).plots[0].caption
    assert ("Queries and keys for a key 3 tokens" if offset else "Queries and keys without rotation") in caption
    assert "offset" not in interp.heads.composition_graph(tiny("llama"), "v").plots[0].caption


@pytest.mark.parametrize("name", TINY)
def test_scores_are_the_composition_scores(name: str) -> None:
    model = tiny(name)
    found = interp.heads.composition_graph(model, "k")
    theirs = interp.heads.composition_scores(model, "k", n_random=2).values["score"].data
    ours = found.values["pair_score"].sel(kind="k").data
    torch.testing.assert_close(ours, theirs, equal_nan=True, rtol=1e-4, atol=1e-6)


def test_random_weights_have_no_edges_and_a_planted_one_is_found() -> None:
    from tests.tiny_models import tiny_llama

    model = tiny_llama()
    found = interp.heads.composition_graph(model)
    assert found.values["n_significant"].data.sum() <= 1
    assert found.values["above"].data.numel() == 0
    assert found.figure() is not None, "an empty graph is drawn"
    # Head 2.1 writes what the keys of 3.0 (group 0, shared with 3.1) read; the gain of the norm is undone.
    reads = model.blocks[3].attn.W_K[0] * model.blocks[3].ln1.weight[:, None]
    model.original_model.model.layers[2].self_attn.o_proj.weight[:, 12:24] = reads
    again = interp.heads.composition_graph(model)
    assert {str(label) for label in again.values["above"].axis("edge").labels} == {"a2.1->a3.0.k", "a2.1->a3.1.k"}
    assert set(again.edges()["reader"]) == {"a3.0.k", "a3.1.k"}
    assert again.counts()["compose"].tolist() == [0, 2, 0]


def test_the_toys_previous_token_head_is_significant_for_the_keys_of_its_induction_head() -> None:
    found = interp.heads.composition_graph(interp.load_model("toy/induction"), offset=0)
    over = found.values["pair_over_rotations"]
    assert float(over.sel(kind="k", source="0.0", destination="1.0").data) > 3
    assert int(found.values["n_significant"].sel(kind="k").data) >= 1


def test_results_are_stored_and_state_their_offset(tmp_path: object) -> None:
    found = interp.heads.composition_graph(tiny("llama"), level=0.99, offset=2)
    assert load(found.save(tmp_path / "found")).equal(found)  # type: ignore[operator]
    assert found.settings["offset"] == 2
    assert interp.heads.composition_graph(tiny("llama"), "v").settings["offset"] is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kinds": "z"}, "there is no kind of composition 'z'"),
        ({"kinds": ()}, "a kind of q, k and v"),
        ({"level": 1.5}, "no probability of a false edge"),
        ({"max_edges": 0}, "max_edges=0 leaves nothing to show"),
        ({"offset": 64}, "no key lies 64 tokens back"),
    ],
)
def test_mistakes_are_one_sentence(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        interp.heads.composition_graph(tiny("llama"), **options)  # type: ignore[arg-type]
