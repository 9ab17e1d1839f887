"""`fit` on tiny models: what is planted is found, controls stand beside it, results are kept and resumed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from interp import results
from interp.errors import InputError
from interp.hooks import LatentSite, sites
from interp.probing import check, fit, labelled_tokens
from interp.probing.gathering import gather, kinds_of
from interp.probing.probe_result import ProbeResult, _notes
from interp.probing.telling import legend
from tests.probing.planted import embedding_side
from tests.tiny_models import tiny

QUICK = {"folds": 2, "inner_folds": 2, "penalties": (0.1, 0.01), "layers": [0, 2]}


@pytest.fixture(scope="module")
def side() -> ProbeResult:
    return fit(tiny("llama"), embedding_side(tiny("llama")), sites=("resid_pre", "z"), **QUICK)


def test_what_is_planted_is_found_and_the_controls_are_lower(side: ProbeResult) -> None:
    values = side.values
    where = {"site": "resid_pre", "position": "token", "layer": 0}
    first = {name: item.sel(**where).data for name, item in values.items() if item.dims[:3] == tuple(where)}
    assert float(first["accuracy"]) > 0.9
    assert float(first["accuracy_low"]) < float(first["accuracy"]) < float(first["accuracy_high"]) + 1e-6
    assert float(first["control_accuracy"]) < float(first["accuracy"]) - 0.05
    torch.testing.assert_close(first["selectivity"], first["accuracy"] - first["control_accuracy"])
    assert 0.3 < float(first["shuffled_accuracy"]) < 0.7
    assert float(first["code_length"]) < 0.8 < float(first["control_code_length"])
    torch.testing.assert_close(first["compression"], 1 / first["code_length"])
    assert float(values["embedding_accuracy"].data[0]) > 0.9
    assert abs(float(values["majority_accuracy"].data) - 0.5) < 0.15
    assert float(values["majority_log_loss"].data) <= 0.6932


def test_the_table_holds_the_layers_and_the_baselines(side: ProbeResult) -> None:
    table = side.table(site="resid_pre").set_index("layer")
    assert list(table.index) == [0, 2, "embedding", "majority"]
    values = {
        name: item.sel(site="resid_pre", layer=2).data
        for name, item in side.values.items()
        if "layer" in item.dims and "site" in item.dims
    }
    for column, name in (("accuracy", "accuracy"), ("random", "random_model_accuracy"), ("bits", "code_length")):
        assert table.loc[2, column] == pytest.approx(float(values[name]))
    for row in (2, "embedding"):
        expected = table.loc[row, "accuracy"] - table.loc[row, "control"]
        assert table.loc[row, "selectivity"] == pytest.approx(expected, abs=1e-6)
    assert table.loc["majority", "accuracy"] == pytest.approx(float(side.values["majority_accuracy"].data))
    assert all(
        f"{name}:" in legend(side) for name in ("selectivity", "shuffled", "random", "loss", "bits", "embedding")
    )


def test_the_finding_names_the_best_layer_beside_the_baselines(side: ProbeResult) -> None:
    told = side.finding(site="resid_pre")
    best = side.best_layer(site="resid_pre")
    table = side.table(site="resid_pre").set_index("layer")
    assert told.startswith(f"Side: in layer {best}, which has the least log-loss of 2, a logistic probe of resid_pre")
    assert f"{100 * table.loc[best, 'accuracy']:.3g} % of 300 held-out examples [" in told
    assert f"selectivity {100 * table.loc[best, 'selectivity']:.2g} points [" in told
    for baseline in ("embedding", "majority"):
        assert f"{100 * table.loc[baseline, 'accuracy']:.3g} %" in told
    assert "than the embedding does." in told  # which is what it was planted in
    with pytest.raises(InputError, match="several sites"):
        side.finding()
    low = side.values["accuracy_low"]
    shuffled = replace(side, values={**side.values, "accuracy_low": replace(low, data=low.data * 0)})
    assert "not shown to be." in shuffled.finding(site="z")


def test_a_weakest_penalty_is_only_worth_a_note_where_it_gains() -> None:
    settings = {"probe": "logistic", "penalties": [0.1, 0.01]}
    l2, tried = torch.full((1, 1, 2, 4), 0.01), torch.tensor([0.7, 0.5]).expand(1, 1, 2, 4, 2)
    assert "by 0.2 nats on average" in _notes(l2, tried, settings)[0]
    assert "--penalties" in _notes(l2, tried, settings)[0]
    assert _notes(l2, torch.tensor([0.003, 0.001]).expand(1, 1, 2, 4, 2), settings) == []
    assert _notes(torch.full((1, 1, 2, 4), 0.1), tried, settings) == []


def test_the_means_are_those_of_the_examples(side: ProbeResult) -> None:
    correct = side.values["correct"].data.float()
    torch.testing.assert_close(side.values["accuracy"].data, correct.mean(-1))
    counts = torch.tensor(list(side.provenance.task["classes"].values())).float()
    by_class = side.values["class_accuracy"].data
    torch.testing.assert_close((by_class * counts).sum(-1) / counts.sum(), side.values["accuracy"].data)


def test_directions_point_to_their_class(side: ProbeResult) -> None:
    model, data = tiny("llama"), embedding_side(tiny("llama"))
    x = gather(model, data, [sites.resid_pre(0)])[0, 0]
    along = x @ side.direction(0, "right", site="resid_pre")
    right = data.labels == data.classes.index("right")
    assert float(along[right].mean()) > float(along[~right].mean()) + 0.5 * float(along.std())
    torch.testing.assert_close(side.direction(0, "left", site="resid_pre"), -side.direction(0, site="resid_pre"))
    assert float(side.direction(2, site="z").norm()) == pytest.approx(1)
    weights = side.directions(0, site="resid_pre")
    scores = weights @ x.T
    bias = side.values["bias resid_pre"].sel(position="token", layer=0).data
    predicted = (scores[1] - scores[0] + bias > 0).long()
    assert float((predicted == data.labels).float().mean()) > 0.95  # on the examples it was learnt from
    assert side.best_layer(site="resid_pre") in (0, 2)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"layer": 0}, "several sites; name one of resid_pre, z"),
        ({"layer": 1, "site": "z"}, "no label 1"),
        ({"layer": 0, "site": "z", "label": "up"}, "the classes are left, right; 'up' is none"),
    ],
)
def test_directions_that_are_not_there(side: ProbeResult, given: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        side.direction(**given)


def test_a_result_is_kept_and_drawn(side: ProbeResult, tmp_path: Path) -> None:
    again = results.load(side.save(tmp_path / "side"))
    assert isinstance(again, ProbeResult)
    assert again.equal(side)
    torch.testing.assert_close(again.direction(2, site="z"), side.direction(2, site="z"))
    assert len(side.plots) == 6
    for i in range(len(side.plots)):
        assert len(side.figure(i).data) > 0
    names = {trace.name for trace in side.figure(0).data}
    assert {"task", "control task", "shuffled labels", "random weights"} <= names
    written = " ".join(annotation.text for annotation in side.figure(0).layout.annotations)
    assert "embedding alone" in written
    assert "majority class" in written
    assert side.sel(site="z", position="token").values["accuracy"].dims == ("layer",)


def test_parts_are_found_again_and_only_by_the_same_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = tiny("llama"), embedding_side(tiny("llama"), n_prompts=30)
    asked = {"probe": "mean_difference", "folds": 2, "inner_folds": 2, "layers": [0], "keep": tmp_path / "parts"}
    first = fit(model, data, **asked)
    stored = sorted(path.name for path in (tmp_path / "parts").iterdir())
    assert stored == ["embedding-embed-0-0", "model-resid_post-0-0", "random-resid_post-0-0"]

    def computed(*_: object, **__: object) -> None:
        raise AssertionError("a stored part was computed again")

    monkeypatch.setattr("interp.probing.fitting.probe_sites", computed)
    monkeypatch.setattr("interp.probing.fitting.random_twin", computed)
    assert fit(model, data, **asked).equal(first)
    with pytest.raises(AssertionError, match="computed again"):
        fit(model, data, **asked | {"seed": 1})
    (tmp_path / "parts" / "model-resid_post-0-0" / "result.json").write_text("{")
    with pytest.raises(AssertionError, match="computed again"):
        fit(model, data, **asked)


def test_layers_taken_lot_by_lot_are_the_same() -> None:
    model, data = tiny("llama"), embedding_side(tiny("llama"), n_prompts=30)
    asked = {"probe": "mean_difference", "folds": 2, "inner_folds": 2, "layers": [1, 3]}
    torch.testing.assert_close(
        fit(model, data, memory_budget=1, **asked).values["accuracy"].data,
        fit(model, data, **asked).values["accuracy"].data,
    )


def test_several_positions_are_probed_at_once() -> None:
    model = tiny("llama")
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(3, 100, (80, 6), generator=generator)
    labels = ["low" if token < 52 else "high" for token in tokens[:, 2].tolist()]  # memorised word by word
    at = {"there": torch.full((80,), 2), "before": torch.full((80,), 1)}
    data = labelled_tokens(tokens, labels, at)
    found = fit(model, data, sites="resid_pre", probe="ridge", **QUICK)
    accuracy = found.values["accuracy"].sel(site="resid_pre", layer=0)
    assert accuracy.dims == ("position",)
    before = float(accuracy.sel(position="before").data)
    assert before < 0.65  # a causal model cannot know what comes
    assert "accuracy: resid_pre at before" in found.values
    with pytest.raises(InputError, match="several positions; name one of there, before"):
        found.direction(0)


def test_gathered_activations_are_those_of_a_plain_pass() -> None:
    model, data = tiny("llama"), embedding_side(tiny("llama"), n_prompts=12)
    found = gather(model, data, [sites.resid_post(1), sites.resid_post(3)], batch_size=5)
    _, cache = model.run_with_cache(data.tokens.as_subclass(Tensor))
    at = data.positions["token"]
    for i, layer in enumerate((1, 3)):
        expected = cache[f"blocks.{layer}.hook_resid_post"][data.rows, at]
        torch.testing.assert_close(found[0, i], expected, atol=1e-4, rtol=1e-4)


class Doubling:
    """A codec whose latents are the activation twice over."""

    reads = writes = "resid_post"

    def encode(self, x: Tensor) -> Tensor:
        return torch.cat([x, x], dim=-1)

    def decode(self, latents: Tensor) -> Tensor:
        return latents.chunk(2, dim=-1)[0]


def test_latents_are_sites_like_any_other() -> None:
    model, data = tiny("llama"), embedding_side(tiny("llama"), n_prompts=30)
    site = LatentSite(sites.resid_post(0), Doubling())
    found = fit(model, data, sites=site, probe="mean_difference", folds=2, inner_folds=2)
    assert found.values["accuracy"].axis("site").labels == ("resid_post latents",)
    assert found.direction(0).shape == (2 * 48,)


def test_split_by_word_type_leaves_nothing_to_remember() -> None:
    model, data = tiny("llama"), embedding_side(tiny("llama"), n_prompts=40)
    found = fit(model, data, split="type", probe="mean_difference", folds=2, inner_folds=2, layers=[0])
    assert "training saw the word types of 0%" in found.settings["control"]
    assert bool(found.values["selectivity"].data.isnan().all())
    assert "control task" not in {trace.name for trace in found.figure(0).data}
    assert "no control task" in found.plots[0].caption
    assert "5 draws" in found.plots[0].caption
    assert "; bars: 95 % intervals over" in found.plots[0].caption  # of one layer


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"probe": "logistc"}, "did you mean 'logistic'"),
        ({"split": "word"}, "no split 'word'"),
        ({"folds": 1}, "make no design"),
        ({"penalties": ()}, "positive numbers"),
        ({"penalties": (0.0,)}, "positive numbers"),
        ({"sites": "pattern"}, "has none"),
        ({"sites": "resid_pots"}, "resid_post"),
        ({"layers": [9]}, "layer 9"),
        ({"layers": []}, "layers is empty"),
        ({"sites": ()}, "no sites were given"),
        ({"probe": "low_rank"}, "rank 1 anyway"),
        ({"folds": 400}, "fewer than the 400 folds"),
    ],
)
def test_what_cannot_be_asked_is_refused(changes: dict, message: str) -> None:
    asked = QUICK | changes
    for ask in (fit, check):
        with pytest.raises(InputError, match=message):
            ask(tiny("llama"), embedding_side(tiny("llama"), n_prompts=20), **asked)


def test_the_name_of_a_model_is_no_model() -> None:
    with pytest.raises(InputError, match=r"a str is no model; load one with interp.load_model\(name\)"):
        fit("smollm2-135m", "pos")


def test_activations_that_are_not_finite_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def spoilt(*arguments: object, **options: object) -> Tensor:
        found = gather(*arguments, **options)  # type: ignore[arg-type]
        found[..., 0, 0] = float("nan")
        return found

    monkeypatch.setattr("interp.probing.fitting.gather", spoilt)
    with pytest.raises(InputError, match="NaN or infinite"):
        fit(tiny("llama"), embedding_side(tiny("llama"), n_prompts=20), **QUICK)


def test_kinds_of_sites() -> None:
    model = tiny("llama")
    kinds = kinds_of(model, ["resid_post", "mlp_post"], [3, 1])
    assert [(kind.name, kind.layers) for kind in kinds] == [("resid_post", (1, 3)), ("mlp_post", (1, 3))]
    assert kinds_of(model, "blocks.2.hook_resid_pre", None)[0].layers == (2,)
