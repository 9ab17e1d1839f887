"""Edge attribution patching: the effect of every edge from one backward pass.

Syed, Rager and Conmy 2023, "Attribution Patching Outperforms Automated Circuit Discovery" (arXiv 2310.10348), whose
idea for nodes is that of Nanda 2023, "Attribution Patching: Activation Patching At Industrial Scale". Linear in what is
patched: where attention is saturated the gradient is zero and so is the score, however much the edge matters.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from interp.circuits.graph import Graph
from interp.circuits.memory import MemoryPlan, memory_plan
from interp.circuits.recording import record_reading, recording_written
from interp.circuits.scoring.batches import Batch, Scored, Settings, batches
from interp.tasks import PromptPairs


def plan(model: Any, task: PromptPairs, graph: Graph, settings: Settings) -> MemoryPlan:
    """What is run at a time, and the memory it takes."""
    return memory_plan(model, task, graph, batch_size=settings.batch_size, memory_budget=settings.memory_budget)


def scores(model: Any, task: PromptPairs, graph: Graph, settings: Settings) -> Iterator[Scored]:
    """Two forward passes and one backward pass a batch."""
    for batch in batches(model, task, graph, settings, plan(model, task, graph, settings)):
        yield _of_batch(batch)


def _of_batch(batch: Batch) -> Scored:
    other, other_metric = batch.other_written()
    side, reading = batch.kept.own, batch.empty_reading()
    with recording_written(batch.model, batch.blocks, batch.own_tokens) as written:
        metric = record_reading(batch.model, batch.blocks, batch.tokens(side), batch.own_tokens, side.metric, reading)
    difference = batch.difference(written(), other)
    return Scored(batch.contract(difference, reading), metric[0], other_metric)
