"""Edge attribution patching against finite differences and TransformerLens."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformer_lens.tools.analysis.attribution_patching import EdgeAttributionConfig, attribution_patch

from interp.circuits import Graph, score_edges
from interp.tasks import PromptPairs
from tests.circuits.one_reader_at_a_time import OneReaderAtATime
from tests.circuits.random_pairs import pairs
from tests.tiny_models import TINY, tiny


@pytest.mark.parametrize("name", TINY)
def test_estimates_equal_derivatives_by_finite_differences(name: str) -> None:
    """Exact patching with a small part of the difference."""
    model, task = tiny(name), pairs(n=2)
    scores = score_edges(model, task, "eap", keep_examples=True)
    slow = OneReaderAtATime(model)
    _, own = slow.run(task.clean)
    _, other = slow.run(task.corrupt)
    size = 5e-3
    graph = scores.graph
    every = graph.exists.nonzero()
    some = every[torch.randperm(len(every), generator=torch.Generator().manual_seed(1))[:4]].tolist()
    for row, column in some:
        edge = (graph.writers[row], graph.readers[column])
        ends = []
        for step in (size, -size):
            moved = {writer: value + step * (other[writer] - value) for writer, value in own.items()}
            ends.append(task.metric(slow.run(task.clean, [edge], moved)[0]))
        slope = (ends[1] - ends[0]) / (2 * size)
        found = scores.per_example.data[:, row, column]
        assert torch.allclose(found, slope, atol=0.02 * float(slope.abs().max()) + 2e-3), edge


def transformer_lens_scores(model: Any, task: PromptPairs) -> Tensor:
    """Its edge attribution, summed over positions: [writers, readers]."""
    graph = Graph.of(model)
    total = torch.zeros(len(graph.writers), len(graph.readers))
    for i in range(len(task)):
        pair = task[i]
        stop = int(pair.lengths[0])
        clean, corrupt = (x.as_subclass(Tensor)[:, :stop] for x in (pair.clean, pair.corrupt))
        made = attribution_patch(
            model, clean, corrupt, lambda logits, pair=pair: pair.metric(logits)[0],
            config=EdgeAttributionConfig(granularity="edge"),
        )  # fmt: skip
        for (writer, reader), score in made.edge_scores.items():
            row = graph.writer_index[
                {"embed": "embed", "mlp_out": f"m{writer.layer}"}.get(writer.kind, f"a{writer.layer}.{writer.head}")
            ]
            name = {"mlp_in": f"m{reader.layer}", "logits": "logits"}.get(
                reader.kind, f"a{reader.layer}.{reader.head}.{reader.kind[0]}"
            )
            total[row, graph.reader_index[name]] += score / len(task)
    return total


@pytest.mark.parametrize("first", [0, 2])
def test_equals_transformer_lens(first: int) -> None:
    model, task = tiny("gpt2"), pairs(first=first)
    ours = score_edges(model, task, "eap", at="corrupt").score.nan_to_num()
    theirs = transformer_lens_scores(TINY["gpt2"]().requires_grad_(True), task)  # it asks for weights with gradients
    assert float((ours - theirs).abs().max()) < 1e-5 * max(1.0, float(theirs.abs().max()))
    assert float(theirs.abs().max()) > 0.1
