"""What notes say of sites: whose they are, and which have no number."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import interp
from interp import similarity
from interp.errors import InputError
from interp.hooks import sites
from interp.similarity import compare, compare_arrays
from tests.similarity.slow_twins import related
from tests.tiny_models import random_tokens, tiny


@pytest.mark.parametrize("measure", similarity.MEASURES)
def test_no_measure_gives_a_number_for_what_does_not_vary(measure: str) -> None:
    x, _ = related()
    options = {"documents": torch.arange(120) // 10, "n_permutations": 5, "n_resamples": 20}
    found = compare_arrays({"x": x}, {"still": torch.full((120, 3), 2.0)}, measure, **options)
    for name in ("similarity", "low", "p_value", "chance_high"):
        assert found.values[name].data.isnan().all(), name
    assert any("with still, which does not vary" in note for note in found.notes)


def test_sites_without_a_number_that_do_vary_are_told_apart() -> None:
    x, y = related(100)
    found = compare_arrays({"x": x, "y": y}, kernel="rbf", bandwidth=0.01, n_permutations=0)
    assert found.map.isnan().all()
    assert any("with x, y, whose estimated HSIC with itself is not above 0" in note for note in found.notes)
    assert not any("vary" in note for note in found.notes)


def test_notes_name_the_model_they_speak_of() -> None:
    """Both models have a layer 1; only the second one's has a large dimension and a large token."""
    generator = torch.Generator().manual_seed(0)
    large = torch.randn(40, 6, generator=generator)
    large[:, 4] *= 100
    long = torch.randn(40, 6, generator=generator)
    long[7] *= 1000
    models = ({"id": "a", "sha256": ""}, {"id": "b", "sha256": ""})
    read = similarity.Representations(
        first=tuple(torch.randn(40, 6, generator=generator) for _ in range(3)),
        labels=(0, 1, 2),
        second=(long, large, large + torch.randn(40, 6, generator=generator)),
        second_labels=(0, 1, 2),
        documents=torch.arange(40) // 4,
        models=models,
    )
    notes = " ".join(compare(read, n_permutations=0, n_resamples=0).notes)
    assert "at layers 1-2 of b one dimension (4) holds" in notes
    assert "At layers 1-2 of b one direction outweighs" in notes
    assert "Outlier tokens: at layer 0 of b one token" in notes
    turned = replace(read, first=read.second, second=(large[:, :5], *read.first[1:]))
    notes = " ".join(compare(turned, n_permutations=0, n_resamples=0).notes)
    assert "at layers 1-2 of a one dimension (4) holds" in notes
    assert ", at layer 0 of b one dimension (4) holds" in notes, "each model with its own dimension"
    same = replace(turned, models=(models[0], models[0]))
    assert "at layer 0 of the other model one dimension" in " ".join(compare(same, n_permutations=0).notes)
    alone = replace(read, first=read.second, second=(), second_labels=(), models=models[1:])
    assert "at layers 1-2 one dimension (4)" in " ".join(compare(alone, n_permutations=0).notes)


def test_other_notes_name_the_model_too() -> None:
    x, _ = related(40)
    noise = torch.randn(40, 4, generator=torch.Generator().manual_seed(3))
    documents = 100 * (torch.arange(40)[:, None] // 4) + noise
    models = ({"id": "a"}, {"id": "b"})
    read = similarity.Representations(
        first=(x,), labels=(1,), second=(documents,), second_labels=(1,), documents=torch.arange(40) // 4, models=models
    )
    own = compare(read, "mutual_knn", k=2, metric="euclidean", n_permutations=0)
    assert any("all neighbours in b are from the same document" in note for note in own.notes)
    still = compare(replace(read, first=(torch.ones(40, 3),)), n_permutations=0)
    assert any("with layer 1 of a, which does not vary" in note for note in still.notes)
    narrow = compare(read, kernel="rbf", bandwidth=0.01, n_permutations=0)
    assert any("at layer 1 of a; choose another bandwidth" in note for note in narrow.notes)
    few = compare(replace(read, second=(documents[:, :1],)), "svcca", n_permutations=0, n_resamples=0)
    assert any("At layer 1 of b one or two directions hold" in note for note in few.notes)
    documents[3] = torch.nan
    with pytest.raises(InputError, match="at layer 1 of b holds NaN"):
        compare(read)


def test_streaming_tells_too_what_does_not_vary() -> None:
    model = tiny("llama")
    still = interp.ablate(sites.mlp_out(1), value="zero")
    chosen = [sites.mlp_out(layer) for layer in (0, 1, 2)]
    with interp.intervene(model, still):
        found = similarity.cka(model, random_tokens(12, 14), model, minibatch=32, sites=chosen, other_sites=chosen[:1])
    assert found.map[1].isnan().all()
    assert any("with layer 1 of the first model, which does not vary" in note for note in found.notes)


def test_a_summary_says_whose_layers_it_speaks_of() -> None:
    found = similarity.cka(tiny("llama"), random_tokens(12, 14), tiny("native"), align="token", n_permutations=0)
    (least,) = (sentence for sentence in similarity.summary(found) if sentence.startswith("Least"))
    assert " of the first model and layer " in least
    assert " of the other: " in least


def test_arrays_of_the_same_name_on_both_sides_are_told_apart() -> None:
    x, _ = related()
    found = compare_arrays({"x": x}, {"x": torch.ones(120, 2)}, n_permutations=0)
    assert any("with x of the second side, which does not vary" in note for note in found.notes)
