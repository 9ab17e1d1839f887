"""Spectra against whole [vocabulary, vocabulary] matrices, TransformerLens, closed forms, and turned bases."""

from __future__ import annotations

import pytest
import torch
from transformer_lens import FactoredMatrix

import interp
from interp.errors import InputError
from interp.heads.matrices.spectra import turned_at_random
from interp.heads.rotating import rotation
from interp.heads.weights import folded_heads, folded_unembedding
from interp.results import load
from tests.tiny_models import tiny


def complex_of(found: interp.heads.Spectra, circuit: str) -> torch.Tensor:
    parts = found.values["eigenvalues"].sel(circuit=circuit).data
    return torch.view_as_complex(parts.contiguous())


def same(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    largest = theirs[theirs.abs().argsort(descending=True)[: len(ours)]]
    assert all((largest - value).abs().min() < 1e-4 * largest.abs().max() for value in ours)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "native-attention-only"])
def test_eigenvalues_are_those_of_the_whole_vocabulary_matrix(name: str) -> None:
    model = tiny(name)
    found = interp.heads.decompose(model, "1.2", n_random=2)
    weights, W_E = folded_heads(model, 1), model.W_E.float()
    whole = W_E @ weights.W_V[2] @ weights.W_O[2] @ folded_unembedding(model)
    same(complex_of(found, "1.2 OV"), torch.linalg.eigvals(whole.double()).to(torch.complex64))
    centred = W_E - W_E.mean(0)
    whole = centred @ weights.W_Q[2] @ weights.W_K[2].T @ centred.T
    same(complex_of(found, "1.2 QK"), torch.linalg.eigvals(whole.double()).to(torch.complex64))


def test_in_the_stream_they_are_those_of_transformer_lens() -> None:
    from tests.tiny_models import tiny_gpt2

    folded = tiny_gpt2()
    folded.enable_compatibility_mode()
    found = interp.heads.decompose(tiny("gpt2"), "1.2", space="stream", n_random=2)
    attention = folded.blocks[1].attn
    theirs = FactoredMatrix(attention.W_V[2], attention.W_O[2]).eigenvalues
    same(complex_of(found, "1.2 OV"), theirs.to(torch.complex64))
    same(complex_of(found, "1.2 QK"), FactoredMatrix(attention.W_Q[2], attention.W_K[2].T).eigenvalues)


def test_the_query_key_circuit_is_that_of_its_offset() -> None:
    model = tiny("llama")
    weights = folded_heads(model, 1)
    for offset in (0, 3):
        found = interp.heads.decompose(model, "1.2", "QK", space="stream", offset=offset, n_random=2)
        whole = weights.W_Q[2] @ rotation(model, 1, offset) @ weights.W_K[2].T
        same(complex_of(found, "1.2 QK"), torch.linalg.eigvals(whole.double()).to(torch.complex64))
        assert found.settings["offset"] == offset


def test_scores_are_the_eigenvalue_scores() -> None:
    model = tiny("llama")
    found = interp.heads.decompose(model, ["0.1", "3.2"], "OV", n_random=2)
    theirs = interp.heads.eigenvalue_scores(model, "OV").values["score"].sel(circuit="OV").data
    torch.testing.assert_close(found.values["score"].data, torch.stack([theirs[0, 1], theirs[3, 2]]))


def test_the_toys_copying_head_is_off_the_controls() -> None:
    found = interp.heads.decompose(interp.load_model("toy/induction"), ["1.0"], "OV", n_random=30)
    (row,) = found.summary().to_dict("records")
    assert row["score"] == pytest.approx(1.0, abs=1e-4)
    assert row["positive"] == pytest.approx(1.0, abs=1e-4)
    assert -0.6 < row["turned, low"] < 0 < row["turned, high"] < 0.8


def test_a_random_turn_keeps_lengths_and_angles_and_forgets_directions() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(5, 40, generator=generator, dtype=torch.float64)
    turned = torch.stack([turned_at_random(rows, generator) for _ in range(300)])
    torch.testing.assert_close(turned @ turned.mT, (rows @ rows.T).expand(300, -1, -1))
    assert turned.mean(0).abs().max() < 5 * rows.norm(dim=1).max() / (40 * 300) ** 0.5
    spread = turned.pow(2).mean(0) / rows.pow(2).sum(1, keepdim=True)
    assert (spread - 1 / 40).abs().max() < 0.02, "every direction is as likely"


def test_results_are_stored_and_drawn(tmp_path: object) -> None:
    found = interp.heads.decompose(tiny("llama"), ["0.1", "1.0"], n_random=3, offset=1)
    assert load(found.save(tmp_path / "found")).equal(found)  # type: ignore[operator]
    assert "QK for a key 1 token before the query" in found.plots[0].caption
    assert "mean over words removed" in found.plots[0].caption
    drawn = found.figure()
    assert [note.text for note in drawn.layout.annotations] == ["0.1 OV", "0.1 QK", "1.0 OV", "1.0 QK"]


@pytest.mark.parametrize("circuit", ["OV", "QK"])
def test_one_panel_says_which_circuit_and_which_offset(circuit: str) -> None:
    (plot,) = interp.heads.decompose(tiny("llama"), "1.2", circuit, space="stream", n_random=2).plots
    assert plot.title == f"Eigenvalues of 1.2 {circuit}"
    assert ("without rotation (offset 0)" in plot.caption) == (circuit == "QK")
    assert "mean over words" not in plot.caption


def test_findings_say_where_a_score_lies_beside_the_controls() -> None:
    toy = interp.load_model("toy/induction")
    (said,) = interp.heads.decompose(toy, ["1.0"], "OV", n_random=30).findings()
    assert said == "OV: copying, above all 30 turned circuits: 1.0 (1.00)."
    (said,) = interp.heads.decompose(toy, ["0.0"], "OV", space="stream", n_random=3).findings()
    assert said.endswith(
        "no score, since all eigenvalues are 0 (it writes nothing into the directions that it reads): 0.0."
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": "9.0"}, "layer 9"),
        ({"heads": "m1"}, "'m1' names no head"),
        ({"heads": "1.0", "circuits": "OVV"}, "did you mean 'OV'"),
        ({"heads": "1.0", "space": "tokens"}, "there is no space 'tokens'"),
        ({"heads": "1.0", "offset": 64}, "no key lies 64 tokens back"),
        ({"heads": "1.0", "n_random": 0}, "at least 2 random turns"),
    ],
)
def test_mistakes_are_one_sentence(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        interp.heads.decompose(tiny("llama"), **options)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="rotary positions only"):
        interp.heads.decompose(tiny("gpt2"), "1.0", "QK", offset=1)
