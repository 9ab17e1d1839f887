"""Exact edge patching against two slow decoders."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import interp
from interp.circuits import Circuit, Graph, score_edges
from interp.circuits.evaluation import Judge
from interp.errors import InputError
from interp.models.toy import induction, linear
from interp.tasks import PromptPairs
from tests.circuits.one_reader_at_a_time import OneReaderAtATime
from tests.circuits.random_pairs import pairs
from tests.models.edge_patching import exact_effects
from tests.tiny_models import TINY, tiny


def exact_by_hand(model: Any, task: PromptPairs, edges: list[tuple[str, str]], at: str) -> Tensor:
    """[edge, example], one edge at a time through the model's own modules."""
    slow = OneReaderAtATime(model)
    clean, corrupt = (task.clean, task.metric), (task.corrupt, task.corrupt_metric)
    (own, metric), (other, _) = (clean, corrupt) if at == "clean" else (corrupt, clean)
    logits, _ = slow.run(own)
    _, written = slow.run(other)
    sign = 1.0 if at == "clean" else -1.0
    return torch.stack([sign * (metric(logits) - metric(slow.run(own, [edge], written)[0])) for edge in edges])


CASES = [*((name, "clean") for name in TINY), ("llama", "corrupt")]


@pytest.mark.parametrize(("name", "at"), CASES)
@pytest.mark.parametrize("n_edges", [2, pytest.param(6, marks=pytest.mark.slow)])
def test_exact_is_one_edge_at_a_time(name: str, at: str, n_edges: int) -> None:
    model, task = tiny(name), pairs()
    graph = Graph.of(model)
    every = graph.exists.nonzero()
    some = every[torch.randperm(len(every), generator=torch.Generator().manual_seed(0))[:n_edges]].tolist()
    edges = [(graph.writers[row], graph.readers[column]) for row, column in some]
    scores = score_edges(model, task, "exact", at=at, edges=edges, keep_examples=True)
    found = torch.stack([scores.per_example.data[:, row, column] for row, column in some])
    expected = exact_by_hand(model, task, edges, at)
    assert torch.allclose(found, expected, atol=1e-4 * float(expected.abs().max()) + 1e-5)
    assert int((~scores.score.isnan()).sum()) == len(edges)


def test_exact_agrees_with_an_independent_decoder() -> None:
    for toy in (induction, linear):
        model = toy.build()
        drawn = toy.pairs(3, 0)
        task = interp.tasks.for_toy(model, n=3)
        scores = score_edges(model, task, "exact", keep_examples=True)
        slow = exact_effects(model, drawn, toy.TRUTH.edges, "resample", "noise")
        for edge, effect in slow.items():
            row, column = scores.graph.edge_index(edge)
            assert torch.allclose(scores.per_example.data[:, row, column].double(), torch.tensor(effect), atol=1e-4)


@pytest.mark.parametrize("value", ["zero", "mean", "resample"])
def test_other_ablations_are_what_circuits_are_judged_by(value: str) -> None:
    model = interp.load_model("toy/induction")
    task, graph = interp.tasks.for_toy(model, n=4), Graph.of(model)
    edges = [("a0.0", "a1.0.k"), ("embed", "a1.0.v"), ("embed", "logits")]
    scores = score_edges(model, task, "exact", edges=edges, value=value)
    judge = Judge(model, task, graph, value=value)
    without = judge.measure([Circuit.full(graph) - Circuit.from_edges(graph, [edge]) for edge in edges]).metric
    found = [float(scores.score[graph.edge_index(edge)]) for edge in edges]
    assert found == pytest.approx((judge.whole - without).mean(1).tolist(), abs=1e-4)
    assert f", {value}, all positions, noise, " in str(scores.settings["ablation"])
    assert str(scores.settings["ablation"]) in scores.plots[0].caption
    with pytest.raises(InputError, match="denoising puts clean activations"):
        score_edges(model, task, "exact", at="corrupt", edges=edges, value=value)
