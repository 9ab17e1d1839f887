"""HISP by its formula, and as a ranking of edges by their nodes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from interp.circuits import Graph, score_edges, score_nodes
from interp.circuits.scoring.head_importance import edges_of_nodes
from interp.errors import InputError
from interp.patching import node_attribution
from tests.circuits.test_masks import pairs
from tests.tiny_models import tiny


def test_importance_is_the_mean_size_over_the_norm_of_the_layer() -> None:
    model, task = tiny("gpt2"), pairs(3)
    heads = node_attribution(model, task, "heads", direction="noise").values["effect_per_example"].data.abs().mean(-1)
    mlps = node_attribution(model, task, "mlps", direction="noise").values["effect_per_example"].data.abs().mean(-1)
    layers = torch.cat([heads, mlps[:, None]], dim=1)
    expected = layers / layers.square().sum(1, keepdim=True).sqrt()
    scored = score_nodes(model, task, "hisp").values["score"]
    torch.testing.assert_close(scored.data.view(3, -1), expected)
    assert scored.axes[0].labels == Graph.of(model).writers[1:]


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_an_edge_is_as_important_as_the_lesser_of_its_nodes(name: str) -> None:
    graph = Graph.of(tiny(name))
    nodes = torch.rand(len(graph.writers), generator=torch.Generator().manual_seed(0))
    nodes[0] = float("nan")
    values = dict(zip(graph.writers, nodes.tolist()))
    values["embed"] = values["logits"] = float(nodes[1:].max())
    per_group = graph.n_heads // graph.n_key_value_heads

    def of_reader(reader: str) -> float:
        layer, *rest = reader.split(".")
        if not rest:
            return values[layer]
        if rest[0].startswith("kv"):
            group = int(rest[0][2:])
            return max(values[f"{layer}.{head}"] for head in range(group * per_group, (group + 1) * per_group))
        return values[f"{layer}.{rest[0]}"]

    found = edges_of_nodes(nodes, graph)
    for row, column in graph.exists.nonzero().tolist():
        expected = min(values[graph.writers[row]], of_reader(graph.readers[column]))
        assert float(found[row, column]) == pytest.approx(expected)


def test_edges_of_a_task_are_scored_by_their_nodes() -> None:
    model, task = tiny("llama"), pairs(3)
    graph = Graph.of(model)
    scored = score_edges(model, task, "hisp")
    nodes = torch.cat([torch.tensor([float("nan")]), score_nodes(model, task, "hisp").values["score"].data])
    torch.testing.assert_close(scored.score[graph.exists], edges_of_nodes(nodes, graph)[graph.exists])
    torch.testing.assert_close(
        scored.values["clean"].data, task.metric(model(task.clean.as_subclass(Tensor))), atol=1e-4, rtol=1e-4
    )
    with pytest.raises(InputError, match="all positions together"):
        score_edges(model, task, "hisp", graph=Graph.of(model, ("middle", "end")))
