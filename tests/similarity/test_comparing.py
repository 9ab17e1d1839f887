"""Maps of one model and of two, streaming, notes, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import interp
from interp import similarity
from interp.errors import InputError
from interp.hooks import sites
from interp.results import load
from interp.similarity import SimilarityMap, compare, compare_arrays, represent
from interp.similarity.centred_kernels import aligned
from interp.similarity.failure_modes import spanned
from interp.similarity.measuring import measure_all
from interp.similarity.uncertainty import contributions
from tests.similarity.slow_twins import cka, linear_kernel, related, unbiased_hsic
from tests.tiny_models import random_tokens, tiny

TOKENS = random_tokens(12, 14)
SITES = [sites.resid_pre(1), sites.resid_post(3)]


def test_the_map_of_a_model_is_cka_of_its_layers_and_is_kept(tmp_path: Path) -> None:
    model = tiny("llama")
    found = similarity.cka(model, TOKENS, n_permutations=19, n_resamples=50)
    read = represent(model, TOKENS)
    for i, j in ((0, 3), (2, 4)):
        assert found.map[i, j] == pytest.approx(
            cka(linear_kernel(read.first[i]), linear_kernel(read.first[j])), abs=1e-5
        )
    torch.testing.assert_close(found.map, found.map.T)
    assert found.values["next_layer"].data.tolist() == found.map.diagonal(1).tolist()
    assert (found.values["low"].data <= found.map + 1e-9).all()
    assert (found.values["high"].data >= found.map - 1e-9).all()
    stored = load(found.save(tmp_path / "map"))
    assert isinstance(stored, SimilarityMap)
    assert stored.equal(found)
    assert stored.notes == found.notes
    assert found.provenance.model["id"]
    for i in range(len(found.plots)):
        found.figure(i)


def test_two_models_of_other_depth_and_width() -> None:
    found = similarity.cka(tiny("llama"), TOKENS, tiny("native"), align="token", other_sites=[sites.mlp_post(1)])
    assert found.values["similarity"].dims == ("layer", "other_layer")
    assert found.map.shape == (5, 1)
    assert found.provenance.model["other"]["id"] != found.provenance.model["id"]
    both = similarity.cka(tiny("llama"), TOKENS, tiny("llama"))
    assert both.values["same_layer"].data.tolist() == pytest.approx([1.0] * 5)
    assert both.best_matches()["other_layer"].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_streaming_estimates_what_all_tokens_give(kernel: str) -> None:
    model, tokens = tiny("gpt2"), random_tokens(120, 20)
    whole = similarity.cka(model, tokens, kernel=kernel, n_permutations=0)
    streamed = similarity.cka(model, tokens, kernel=kernel, minibatch=64)
    assert (streamed.map - whole.map).abs().max() < 0.02
    inside = (streamed.values["low"].data <= whole.map + 1e-6) & (whole.map <= streamed.values["high"].data + 1e-6)
    assert inside.float().mean() > 0.8
    assert streamed.settings["n"] == 120 * 19
    assert any("36 minibatches of 64 tokens, the last of 40" in note for note in streamed.notes)


def test_streaming_is_the_mean_over_minibatches(monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokens = tiny("gpt2"), random_tokens(8, 18)
    monkeypatch.setattr(torch, "randperm", lambda n, **_: torch.arange(n))
    found = similarity.cka(model, tokens, minibatch=32, drop_outliers=False)
    kernels = [linear_kernel(x - x.mean(0)) for x in represent(model, tokens, drop_outliers=False).first]
    parts = [slice(i, i + 32) for i in range(0, 136, 32)]
    hsic = torch.stack(
        [torch.stack([torch.stack([unbiased_hsic(k[p, p], m[p, p]) for m in kernels]) for k in kernels]) for p in parts]
    )
    sizes = torch.tensor([32.0, 32, 32, 32, 8], dtype=torch.float64)
    weighted = (sizes[:, None, None] * hsic).sum(0) / 136
    torch.testing.assert_close(found.map, aligned(weighted), atol=1e-5, rtol=1e-5)
    assert (found.settings["n"], found.settings["n_minibatches"], found.settings["n_unused"]) == (136, 5, 0)


def test_streaming_counts_every_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interp.similarity.reading.PASS_TOKENS", 60)
    model, tokens = tiny("llama"), random_tokens(9, 12)  # 99 tokens that could be compared
    whole = similarity.cka(model, tokens, minibatch=32, n_resamples=0)
    assert (whole.settings["n"], whole.settings["n_unused"], whole.settings["n_outliers"]) == (96, 3, 0)
    assert any("96 tokens. 3 tokens at the end were too few" in note for note in whole.notes)
    steering = interp.steer(sites.resid_pre(2), 1e4 * torch.ones(48), positions=[5])
    with interp.intervene(model, steering):
        found = similarity.cka(model, tokens, minibatch=32, n_resamples=0)
    assert (found.settings["n"], found.settings["n_unused"], found.settings["n_outliers"]) == (90, 0, 9)
    assert any("9 of 99 tokens are left out" in note for note in found.notes)


def test_streaming_two_models_standardised() -> None:
    options = {"align": "token", "standardise": True}
    streamed = similarity.cka(tiny("gpt2"), random_tokens(60, 20), tiny("llama"), minibatch=200, **options)
    whole = similarity.cka(tiny("gpt2"), random_tokens(60, 20), tiny("llama"), n_permutations=0, **options)
    assert streamed.map.shape == (4, 5)
    assert (streamed.map - whole.map).abs().max() < 0.02


def test_an_outlier_dimension_is_named_and_standardising_takes_it_away() -> None:
    x, y = related(300)
    generator = torch.Generator().manual_seed(5)
    x, y = x.clone(), torch.randn(300, 30, generator=generator)
    x[:, 7] = y[:, 11] = 500 * torch.randn(300, generator=generator)
    found = compare_arrays({"x": x}, {"y": y}, n_permutations=0)
    assert found.map.item() > 0.99, "one shared dimension is all that CKA sees"
    assert any("at x, y one dimension (7, 11) holds" in note for note in found.notes)
    assert any("one direction outweighs" in note for note in found.notes)
    assert found.values["effective_dimensions"].data.item() == pytest.approx(1, abs=0.05)
    equal = compare_arrays(x, y, standardise=True, n_permutations=0)
    assert equal.map.item() < 0.2
    assert not any("one dimension" in note for note in equal.notes)


def test_outlier_tokens_are_said() -> None:
    x, y = related(300)
    x[5] = 1000
    assert any("Outlier tokens: at x" in note for note in compare_arrays(x, y, n_permutations=0).notes)


def test_few_tokens_are_said_of_the_plain_estimate_and_of_cca() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(60, 25, generator=generator) for _ in range(2))
    plain = compare_arrays(x, y, estimator="biased", n_permutations=0)
    (note,) = (note for note in plain.notes if "60 tokens are few" in note)
    promised = float(note.split("up to ")[1].split(";")[0])
    assert promised == pytest.approx(plain.map.item(), abs=0.05), "what unrelated data give is what it says"
    assert not any("are few" in note for note in compare_arrays(*related(300), n_permutations=0).notes)
    canonical = similarity.canonical_correlations(x, y).square().mean().sqrt().item()
    (note,) = (n for n in compare_arrays(x, y, "cca", n_permutations=0, n_resamples=0).notes if "unrelated" in n)
    assert float(note.split("correlation of ")[1].split(";")[0]) == pytest.approx(canonical, abs=0.05)


def test_few_tokens_are_said_of_the_debiased_estimate_with_what_chance_leaves() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(20, 200, generator=generator) for _ in range(2))
    (note,) = (note for note in compare_arrays(x, y, n_permutations=0).notes if "20 tokens are few" in note)
    promised = float(note.split("lie about ")[1].split(" to")[0])
    for d in (200, 3):
        draws = [torch.randn(2, 20, d, generator=generator) for _ in range(150)]
        values = torch.tensor([similarity.cka_of(a, b) for a, b in draws])
        assert 2 * values.std().item() == pytest.approx(promised, rel=0.25), "whatever the dimensions"
    one = similarity.cka(tiny("llama"), TOKENS[:1], n_permutations=None)
    assert any("go by intervals" in note for note in one.notes)


def test_one_text_and_a_few_are_compared_and_said_to_be_too_few_for_intervals() -> None:
    for n, words in ((1, "one document is"), (3, "3 documents are")):
        for measure in ("cka", "mutual_knn", "procrustes"):
            found = compare(represent(tiny("llama"), random_tokens(4, 14)[:n], sites=SITES), measure)
            assert {*found.values}.isdisjoint({"low", "p_value"})
            assert any(f"{words} too few for any; give 5 texts or more" in note for note in found.notes)
    x, y = related()
    assert compare_arrays(x, y, documents=["a"] * 120).map.item() == pytest.approx(similarity.cka_of(x, y))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_neighbours_by_either_metric(metric: str) -> None:
    x, y = related()
    found = compare_arrays({"x": x}, {"y": y}, "mutual_knn", metric=metric, n_permutations=0)
    assert found.map.item() == pytest.approx(similarity.mutual_knn_of(x, y, metric=metric))
    assert found.settings["metric"] == metric
    assert {"cosine": "cosine", "euclidean": "Euclidean"}[metric] in found.plots[0].caption


def test_intervals_of_neighbours_leave_documents_out_as_neighbours_too() -> None:
    """Against jackknife pseudo-values of the measure itself on the tokens that are left."""
    x, y = related(60)
    documents = torch.arange(60) // 6
    data = represent_arrays(x, y, documents)
    measured = measure_all("mutual_knn", data, documents, similarity.Options(k=3), intervals=True)
    without = [similarity.mutual_knn_of(x[documents != g], y[documents != g], k=3) for g in range(10)]
    whole = torch.tensor(similarity.mutual_knn_of(x, y, k=3), dtype=torch.float64)
    expected = contributions(whole, torch.tensor(without, dtype=torch.float64), torch.full((10,), 6))
    assert measured.contributed is not None
    torch.testing.assert_close(measured.contributed.flatten(), expected, atol=1e-5, rtol=1e-5)
    halves = measure_all("mutual_knn", data, torch.arange(60) // 30, similarity.Options(k=30), intervals=True)
    assert halves.contributed is None, "of half of the tokens none has 30 others"
    assert any("No intervals: without the longest document" in note for note in halves.notes)


def represent_arrays(x: torch.Tensor, y: torch.Tensor, documents: torch.Tensor) -> similarity.Representations:
    return similarity.Representations(first=(x,), labels=("x",), second=(y,), second_labels=("y",), documents=documents)


def test_captions_say_what_layers_are_and_over_what_chance_was_tested() -> None:
    found = similarity.cka(tiny("llama"), TOKENS, n_permutations=39, n_resamples=50)
    heatmap, beside = found.plots
    assert heatmap.options["x_label"] == beside.options["x_label"] == "stream entering block"
    assert "Layer L is the residual stream that enters block L" in heatmap.caption
    assert "10 pairs" in heatmap.caption
    assert beside.kind == "bars", "its whiskers are seen however narrow intervals are"
    assert "from end to end" in beside.caption
    assert "39 exchanges of 12 documents, 156 of their tokens" in heatmap.caption
    assert found.settings["n_tested_tokens"] == 156
    parts = similarity.cka(tiny("llama"), TOKENS, sites=[sites.mlp_out(layer) for layer in range(4)], n_permutations=9)
    assert parts.plots[0].options["x_label"] == "mlp_out of block"
    assert "9 exchanges" in parts.plots[0].caption
    assert "too few" in parts.plots[0].caption
    two = similarity.cka(tiny("llama"), TOKENS, tiny("native"), align="token", n_permutations=0)
    assert two.plots[0].options["x_label"] == "stream entering block (other model)"


def test_one_number_is_no_range() -> None:
    assert spanned(torch.tensor([1.001, 1.002]), ".2g") == "1"
    assert spanned(torch.tensor([0.5, 0.66]), ".0%") == "50% to 66%"


def test_radial_kernels_that_see_nothing_are_said() -> None:
    x, y = related(100)
    narrow = compare_arrays(x, y, kernel="rbf", bandwidth=0.01, n_permutations=0)
    assert any("resembles only itself" in note for note in narrow.notes)
    wide = compare_arrays(x, y, kernel="rbf", bandwidth=50.0, n_permutations=0)
    assert any("nearly the linear one" in note for note in wide.notes)
    assert wide.map.item() == pytest.approx(similarity.cka_of(x, y), abs=1e-3)


def test_effective_dimensions_of_known_covariances() -> None:
    x = torch.randn(4000, 10, generator=torch.Generator().manual_seed(0))
    two = torch.cat([x[:, :2], 1e-3 * x[:, 2:]], dim=1)
    found = compare_arrays({"ten": x, "two": two}, n_permutations=0, n_resamples=0)
    assert found.values["effective_dimensions"].data.tolist() == pytest.approx([10, 2], rel=0.02)
    assert found.values["largest_dimension"].data.tolist() == pytest.approx([0.1, 0.5], rel=0.1)


def test_a_site_that_does_not_vary_has_no_similarity() -> None:
    x, _ = related()
    found = compare_arrays({"x": x, "constant": torch.ones(120, 4)}, n_permutations=19)
    assert found.map[0, 0] == pytest.approx(1)
    assert found.map[:, 1].isnan().all()
    assert any("with constant, which does not vary" in note for note in found.notes)


def test_many_pairs_of_decompositions_come_without_intervals_and_say_so() -> None:
    read = represent(tiny("llama"), TOKENS)
    found = compare(read, "procrustes")
    assert "low" not in found.values
    assert any("25 pairs, each with its own decomposition" in note for note in found.notes)
    assert found.map[1, 3] == pytest.approx(similarity.procrustes_of(read.first[1], read.first[3]))


def test_plain_arrays_of_documents_in_any_order() -> None:
    x, y = related()
    labels = np.array(["a", "b", "c", "d", "e", "f"])[np.arange(120) % 6]
    shuffled = compare_arrays(x.numpy(), y.numpy(), documents=labels, n_permutations=19)
    order = labels.argsort(kind="stable")
    in_order = compare_arrays(x[order], y[order], documents=labels[order], n_permutations=19)
    for name in ("similarity", "low", "p_value"):
        torch.testing.assert_close(shuffled.values[name].data, in_order.values[name].data)
    assert shuffled.settings["n_documents"] == 6


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("x", "short"), {}, "unequal numbers of samples"),
        (("x", "y", "ckaa"), {}, "'cka'"),
        (("x", "y"), {"k": 3}, "there is no option of cka 'k'"),
        (("x", "y"), {"documents": [1, 2]}, "2 document labels"),
        (("x", "y"), {"documents": [1] * 60 + [2] * 60, "n_permutations": 10}, "2 are too few"),
        (("empty",), {}, "at least one matrix"),
        (("x", "y"), {"kernel": "rbf", "bandwidth": 0.0}, "bandwidth=0 is no width"),
        (("x", "y"), {"kernel": "rbf", "bandwidth": -1.0}, "bandwidth=-1 is no width"),
        (("x", "y"), {"estimator": "plain"}, "valid: debiased, biased"),
        (("x", "y", "svcca"), {"variance": 1.5}, "above 0 and at most 1"),
        (("x", "y", "rsa"), {"distance": "city"}, "valid: correlation, cosine, euclidean"),
        (("x", "y", "mutual_knn"), {"k": 0}, "k=0 is no number of neighbours; give 1 or more"),
        (("x", "y", "mutual_knn"), {"k": 119}, "k=119 neighbours need more than 120 tokens, not 120"),
        (("x", "y"), {"n_permutations": -1}, "n_permutations .*not -1"),
        (("x", "y"), {"n_resamples": -1}, "n_resamples is a number of draws"),
        (("x", "y"), {"max_tokens": 3}, "give 4 or more"),
    ],
)
def test_mistakes_are_one_sentence(arguments: tuple, options: dict, message: str) -> None:
    x, y = related()
    known = {"x": x, "y": y, "short": y[:-1], "empty": {}}
    with pytest.raises(InputError, match=message):
        compare_arrays(*(known.get(name, name) for name in arguments), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"minibatch": 4}, "says too little"),
        ({"minibatch": 100}, "fewer than two minibatches"),
        ({"minibatch": 32, "estimator": "biased"}, "debiased"),
        ({"minibatch": 32, "max_tokens": 50}, "keeps none"),
        ({"minibatch": 32, "align": "document"}, "without minibatches"),
        ({"minibatch": 32, "n_permutations": 9}, "no permutation test"),
    ],
)
def test_what_cannot_be_streamed(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        similarity.cka(tiny("llama"), TOKENS, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"estimator": "plain"},
        {"kernel": "radial"},
        {"kernel": "rbf", "bandwidth": -1.0},
        {"n_permutations": -1},
        {"minibatch": 4},
    ],
)
def test_what_is_refused_is_refused_before_a_model_runs(options: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("interp.similarity.reading.capture", lambda *_, **__: pytest.fail("the model ran"))
    with pytest.raises(InputError):
        similarity.cka(tiny("llama"), TOKENS, **options)


def test_nan_in_a_model_is_refused() -> None:
    read = represent(tiny("llama"), TOKENS)
    read.first[2][7, 3] = torch.nan
    with pytest.raises(InputError, match="at layer 2 holds NaN"):
        compare(read)


@pytest.mark.parametrize("n_sites", [3, 4, 5])
def test_a_summary_tells_the_median_of_neighbours(n_sites: int) -> None:
    rows = torch.randn(40, 5, generator=torch.Generator().manual_seed(1))
    sites = {
        i: rows + i**2 * torch.randn(40, 5, generator=torch.Generator().manual_seed(2 + i)) for i in range(n_sites)
    }
    found = compare_arrays(sites, n_permutations=0)
    beside = [float(found.map[i, i + 1]) for i in range(n_sites - 1)]
    assert f"is {np.median(beside):.3g} in the median" in similarity.summary(found)[0]
