"""Scores of heads and MLPs, against the sweeps and attributions that they are made of."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from interp.circuits import Circuit, Graph, score_nodes
from interp.errors import InputError
from interp.models import load_model
from interp.models.toy import toy_module
from interp.patching import node_attribution, sweep
from interp.results import load
from interp.tasks import for_toy
from tests.circuits.test_masks import pairs
from tests.tiny_models import tiny


@pytest.mark.parametrize(("at", "direction"), [("clean", "noise"), ("corrupt", "denoise")])
def test_scores_are_effects_of_heads_and_mlps(at: str, direction: str) -> None:
    model, task = tiny("llama"), pairs(3)
    exact = score_nodes(model, task, "exact", at=at)
    heads, mlps = sweep(model, task, "z", direction=direction), sweep(model, task, "mlp_out", "layer", direction)
    by_layer = exact.values["score"].data.view(int(model.cfg.n_layers), -1)
    torch.testing.assert_close(by_layer[:, :-1], heads.values["effect"].data)
    torch.testing.assert_close(by_layer[:, -1], mlps.values["effect"].data)
    estimate = score_nodes(model, task, "attribution", at=at).values["score"].data.view(by_layer.shape)
    expected = node_attribution(model, task, "heads", direction=direction).values["effect"].data
    torch.testing.assert_close(estimate[:, :-1], expected)


def test_atp_star_gives_sizes() -> None:
    model, task = tiny("gpt2"), pairs(3)
    scored = score_nodes(model, task, "atp-star")
    expected = node_attribution(model, task, "mlps", direction="noise", grad_drop=True).values["effect"].data
    torch.testing.assert_close(scored.values["score"].data.view(3, -1)[:, -1], expected)
    assert scored.values["score"].data.min() >= 0
    assert not scored.settings["effect"]


def test_top_nodes_make_a_circuit(tmp_path: Path) -> None:
    model = load_model("toy/induction")
    scored = score_nodes(model, for_toy(model, n=3, seed=0), "exact")
    frame = scored.to_frame()
    assert set(frame.sort_values("score")["node"][-2:]) == {"a0.0", "a1.0"}
    graph = Graph.of(model)
    found = scored.top(2)
    assert found.equal(Circuit.from_nodes(graph, ["a0.0", "a1.0"]))
    assert set(max(toy_module("toy/induction").TRUTH.sufficient, key=len)) <= set(found.edges())
    scored.save(tmp_path / "nodes")
    again = load(tmp_path / "nodes")
    assert again.equal(scored)
    assert type(again) is type(scored)
    assert again.top(1).n_edges > 0
    assert scored.figure() is not None


def test_bad_requests_are_refused() -> None:
    model, task = tiny("gpt2"), pairs(2)
    for method, options, message in (
        ("atpstar", {}, "did you mean 'atp-star'"),
        ("exact", {"at": "dirty"}, "'clean'"),
    ):
        with pytest.raises(InputError, match=message):
            score_nodes(model, task, method, **options)
    with pytest.raises(InputError, match="one pair"):
        score_nodes(model, task[:1])
    with pytest.raises(InputError, match="a number from 1 to 15"):
        score_nodes(model, task, "attribution").top(16)
