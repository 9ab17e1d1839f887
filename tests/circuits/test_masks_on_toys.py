"""The mask runner on circuits that are known: stated sets give the clean metric, and no edge of one can be left out."""

from __future__ import annotations

import pytest
import torch

from interp.circuits import Circuit, Graph
from interp.circuits.masks import MaskRunner
from interp.models import load_model
from interp.models.toy import TOYS, toy_module
from interp.tasks import for_toy


@pytest.mark.parametrize("name", list(TOYS))
@pytest.mark.parametrize("value", ["counterfactual", "zero"])
def test_stated_sets_suffice_and_every_edge_of_them_is_needed(name: str, value: str) -> None:
    truth = toy_module(name).TRUTH
    stated = truth.sufficient if value == "counterfactual" else truth.sufficient_zero
    if stated is None:
        pytest.skip("not worked out")
    model = load_model(name)
    graph, task = Graph.of(model), for_toy(model, n=3, seed=1)
    runner = MaskRunner(model, task, graph, value=value)
    clean = runner.metric(graph.exists[None])
    whole = torch.stack([Circuit.from_edges(graph, edges).mask for edges in stated])
    torch.testing.assert_close(runner.metric(whole), clean.expand(len(whole), -1), atol=1e-4, rtol=0)
    less = torch.stack([Circuit.from_edges(graph, edges - {edge}).mask for edges in stated for edge in edges])
    assert (runner.metric(less) - clean).abs().amax(1).min() > 0.1
