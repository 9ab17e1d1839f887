"""The QK-fix against a pattern made by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import interp
from interp.circuits import Graph, score_edges
from interp.hooks import sites
from interp.models.toy import induction
from tests.circuits.one_reader_at_a_time import OneReaderAtATime
from tests.circuits.random_pairs import pairs
from tests.tiny_models import tiny


@pytest.mark.parametrize(
    "name", ["gpt2", "gemma2", *(pytest.param(name, marks=pytest.mark.slow) for name in ("llama", "native-rotary"))]
)
def test_query_key_fix_puts_the_changed_edge_through_the_softmax(name: str) -> None:
    """By hand: the queries of a changed stream, the pattern they make, times the gradient at the pattern."""
    model, task = tiny(name), pairs(n=2)
    tokens, layer = task.clean.as_subclass(Tensor), 2
    acts = interp.capture(model, tokens, [sites.pattern(layer)], readout=task.metric.readout, gradients=True)
    before = acts[sites.pattern(layer)]
    assert acts.logits is not None
    (gradient,) = torch.autograd.grad(task.metric.score(acts.logits).sum(), before)
    slow = OneReaderAtATime(model)
    own, other = slow.run(task.clean)[1], slow.run(task.corrupt)[1]
    scores = score_edges(model, task, "eap-qk-fix", keep_examples=True)
    grouped = scores.graph.n_key_value_heads < scores.graph.n_heads
    for letter, head in (("q", 2), ("k", 1)):
        site = f"blocks.{layer}.attn.hook_{letter}"
        for writer in ("embed", "a0.3", "m1", "a1.0"):
            if writer not in own:
                continue
            read: dict[str, Tensor] = {}

            def change(value: Tensor, hook: Any, writer: str = writer) -> Tensor:
                return value + other[writer] - own[writer]

            def keep(value: Tensor, hook: Any, read: dict[str, Tensor] = read) -> None:
                read[hook.name] = value.clone()

            def put(value: Tensor, hook: Any, head: int = head, read: dict[str, Tensor] = read) -> Tensor:
                value = value.clone()
                value[:, :, head] = next(iter(read.values()))[:, :, head]
                return value

            model.run_with_hooks(tokens, fwd_hooks=[(f"blocks.{layer}.hook_resid_pre", change), (site, keep)])
            made: dict[str, Tensor] = {}
            look = f"blocks.{layer}.attn.hook_pattern"
            model.run_with_hooks(
                tokens, fwd_hooks=[(site, put), (look, lambda value, hook, made=made: made.update(p=value))]
            )
            expected = ((before - made["p"]) * gradient).sum((1, 2, 3))
            reader = f"a{layer}.kv{head}.k" if letter == "k" and grouped else f"a{layer}.{head}.{letter}"
            row, column = scores.graph.edge_index((writer, reader))
            assert torch.allclose(scores.per_example.data[:, row, column], expected, atol=1e-4), (writer, reader)


def test_query_key_fix_at_one_role_is_exact_where_the_model_is_linear_behind_it() -> None:
    model = induction.build()
    task = interp.tasks.for_toy(model, n=2)
    scores = score_edges(model, task, "eap-qk-fix", graph=Graph.of(model, ("end",)))
    assert float(scores.score[scores.graph.edge_index(("embed@end", "a1.0.q@end"))]) == pytest.approx(10.0, abs=1e-3)
