"""ACDC as a score: an edge has the largest threshold that keeps it."""

from __future__ import annotations

import pytest
import torch

from interp.circuits import Graph, score_edges, search
from interp.errors import InputError
from interp.models import load_model
from interp.models.toy import toy_module
from interp.tasks import for_toy


def test_an_edge_has_the_largest_threshold_that_keeps_it() -> None:
    model = load_model("toy/linear")
    task, graph = for_toy(model, n=3, seed=0), Graph.of(model)
    grid = (0.05, 1.0, 3.0)
    expected = torch.zeros(graph.exists.shape)
    for threshold in grid:
        expected[search(model, task, "acdc", threshold=threshold, resume=False).mask] = threshold
    scored = score_edges(model, task, "acdc", thresholds=grid)
    torch.testing.assert_close(scored.score.nan_to_num(), expected)
    assert scored.settings["thresholds"] == list(grid)
    assert not scored.settings["effect"]


def test_the_default_grid_is_made_of_shares_of_the_whole_damage() -> None:
    model = load_model("toy/and")
    task = for_toy(model, n=2, seed=0)
    truth = toy_module("toy/and").TRUTH
    scored = score_edges(model, task, "acdc")
    kept = scored.to_frame().query("score > 0")
    assert set(zip(kept["writer"], kept["reader"])) == set(truth.sufficient[0])
    assert kept["score"].tolist() == pytest.approx([0.5 * truth.total] * 5)
    assert scored.values["corrupt"].data.tolist() == pytest.approx([0.0, 0.0], abs=1e-4)


def test_what_makes_no_sense_is_refused() -> None:
    model = load_model("toy/and")
    task = for_toy(model, n=2, seed=0)
    for options, message in (({"at": "corrupt"}, "at='clean'"), ({"thresholds": [0.0]}, "above 0")):
        with pytest.raises(InputError, match=message):
            score_edges(model, task, "acdc", **options)
