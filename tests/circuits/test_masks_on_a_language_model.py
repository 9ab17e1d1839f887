"""The mask runner on a real model: the ends of the scale, and circuits that share a pass."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import interp
from interp.circuits import Circuit, Graph, MaskRunner

pytestmark = pytest.mark.slow


def test_the_ends_and_a_fold_on_smollm2() -> None:
    model = interp.load_model("smollm2-135m")
    task = interp.tasks.ioi(model, n=4, seed=0)
    graph = Graph.of(model)
    runner = MaskRunner(model, task, graph)
    generator = torch.Generator().manual_seed(0)
    draws = torch.rand(2, *graph.exists.shape, generator=generator)
    masks = (draws < torch.tensor([0.02, 0.7])[:, None, None]) & graph.exists
    ends = torch.stack([Circuit.full(graph).mask, Circuit.empty(graph).mask])
    found = runner.metric(torch.cat([ends, masks]))
    clean, corrupt = (task.metric(model(tokens.as_subclass(Tensor))) for tokens in (task.clean, task.corrupt))
    size = float((clean - corrupt).abs().mean())
    assert (found[0] - clean).abs().max() < 1e-3 * size
    assert (found[1] - corrupt).abs().max() < 1e-3 * size
    alone = torch.cat([runner.metric(mask[None]) for mask in masks])
    assert (found[2:] - alone).abs().max() < 1e-3 * size
    # The differentiable run takes another way to the same number.
    soft = runner.differentiable(masks[:1].float())
    assert (soft - found[2:3]).abs().max() < 1e-3 * size
