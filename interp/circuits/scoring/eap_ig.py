"""Edge attribution patching with integrated gradients over the inputs (EAP-IG).

Hanna, Pezzelle and Belinkov 2024, "Have Faith in Faithfulness: Going Beyond Circuit Overlap When Finding Model
Mechanisms" (arXiv 2403.17806). Gradients are averaged over runs whose embeddings go from one prompt's to the other's.
Here by the midpoint rule (the authors' code takes a left Riemann sum, which includes one end and not the other); steps
share passes, and their gradients are summed before the one product with what writers wrote, which no step changes. Both
ends count alike, so `at` makes no difference but for the metric's own positions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interp.circuits.graph import Graph
from interp.circuits.memory import MemoryPlan, memory_plan
from interp.circuits.recording import Reading, record_reading
from interp.circuits.scoring.batches import Batch, Scored, Settings, batches
from interp.errors import InputError
from interp.hooks.capturing import capture
from interp.hooks.partial import hooked
from interp.hooks.sites import hook_point, resid_pre
from interp.tasks import PromptPairs


def plan(model: Any, task: PromptPairs, graph: Graph, settings: Settings) -> MemoryPlan:
    """What is run at a time, and the memory it takes."""
    return memory_plan(
        model, task, graph, steps=settings.steps, batch_size=settings.batch_size, memory_budget=settings.memory_budget
    )


def scores(model: Any, task: PromptPairs, graph: Graph, settings: Settings) -> Iterator[Scored]:
    """Two forward passes, then `steps` forward and backward passes, a batch."""
    if not task.aligned:
        raise InputError("clean and corrupt prompts differ in length, so no path leads between them; use method='eap'")
    for batch in batches(model, task, graph, settings, plan(model, task, graph, settings)):
        own, metric = batch.own_written()
        other, other_metric = batch.other_written()
        reading = batch.empty_reading()
        read_along_the_inputs(batch, settings.steps, reading)
        yield Scored(batch.contract(batch.difference(own, other), reading), metric, other_metric)


def read_along_the_inputs(batch: Batch, steps: int, into: Reading) -> None:
    """Gradients averaged over `steps` runs between the two prompts' embeddings."""
    model, side = batch.model, batch.kept.own
    tokens = batch.tokens(side)
    ends = [capture(model, ids, resid_pre(0))[resid_pre(0)] for ids in (tokens, batch.tokens(batch.kept.other))]
    ends = [end[:, : tokens.shape[1]] for end in ends]
    for shares in midpoints(steps).split(batch.plan.runs):
        stream = between(ends[0], ends[1], shares)
        with hooked(hook_point(model, resid_pre(0)), lambda value, stream=stream: stream.to(value)):  # type: ignore[misc]
            record_reading(
                model,
                batch.blocks,
                tokens.repeat(len(shares), 1),
                batch.own_tokens,
                side.metric,
                into,
                n_runs=len(shares),
                weight=1 / steps,
            )


def midpoints(steps: int) -> Float[Tensor, " step"]:
    """Where the midpoint rule takes an integral over [0, 1]."""
    return (torch.arange(steps) + 0.5) / steps


def between(
    start: Float[Tensor, "batch *rest"], end: Float[Tensor, "batch *rest"], shares: Float[Tensor, " run"]
) -> Float[Tensor, "run_batch *rest"]:
    """start + share · (end - start) for every share, run-major."""
    weights = shares.to(start).view(-1, *[1] * start.ndim)
    return torch.lerp(start[None], end[None], weights).flatten(0, 1)
