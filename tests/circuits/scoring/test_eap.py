"""Edge attribution patching against finite differences and TransformerLens."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformer_lens.tools.analysis.attribution_patching import EdgeAttributionConfig, attribution_patch

from interp.circuits import Graph, score_edges
from interp.tasks import PromptPairs
from tests.circuits.random_pairs import pairs
from tests.circuits.slopes import assert_slopes
from tests.tiny_models import TINY, tiny


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("n_edges", [2, pytest.param(6, marks=pytest.mark.slow)])
def test_scores_are_slopes(name: str, n_edges: int) -> None:
    model, task = tiny(name), pairs(n=2)
    assert_slopes(model, task, score_edges(model, task, "eap", keep_examples=True), n_edges)


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
