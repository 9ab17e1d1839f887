"""Edge attribution patching with integrated gradients over activations.

Marks et al. 2024, "Sparse Feature Circuits" (arXiv 2403.19647); Hanna, Pezzelle and Belinkov 2024 (EAP-IG, appendix).
For the edges from one layer's attention (or MLP, or the embedding), gradients are averaged over runs in which those
writers, and they alone, go from what they wrote in one run to what they wrote in the other. (The authors' code adds the
gradient of every edge at every node's runs; here an edge is scored by its own writer's.) Costs `steps` passes for each
of 2 n_layers + 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from interp.circuits.graph import Graph
from interp.circuits.memory import MemoryPlan, memory_plan
from interp.circuits.recording import Reading, record_reading
from interp.circuits.scoring.batches import Batch, Scored, Settings, batches
from interp.circuits.scoring.eap_ig import between, midpoints
from interp.errors import InputError
from interp.hooks.capturing import capture
from interp.hooks.partial import hooked
from interp.hooks.sites import Site, hook_point, mlp_out, resid_pre, z
from interp.tasks import PromptPairs


def plan(model: Any, task: PromptPairs, graph: Graph, settings: Settings) -> MemoryPlan:
    """What is run at a time, and the memory it takes."""
    return memory_plan(
        model, task, graph, steps=settings.steps, batch_size=settings.batch_size, memory_budget=settings.memory_budget
    )


def scores(model: Any, task: PromptPairs, graph: Graph, settings: Settings) -> Iterator[Scored]:
    """Two forward passes, then `steps` forward and backward passes for every layer's attention and MLP, a batch."""
    if not task.aligned:
        raise InputError("clean and corrupt prompts differ in length, so no path leads between them; use method='eap'")
    for batch in batches(model, task, graph, settings, plan(model, task, graph, settings)):
        own, metric = batch.own_written()
        other, other_metric = batch.other_written()
        difference = batch.difference(own, other)
        total = None
        for site, rows, first in stages(graph):
            reading = batch.empty_reading(first)
            _read_along(batch, site, settings.steps, reading)
            part = batch.contract(difference, reading, rows)
            total = part if total is None else total.add_(part)
        assert total is not None
        yield Scored(total, metric, other_metric)


def stages(graph: Graph) -> list[tuple[Site, slice, int]]:
    """Writers that are moved together: where, their rows in a graph without positions, and the first block that reads
    them (for attention whose own MLP does not read it, and for MLPs, the next one)."""
    plain = graph.with_positions(None)
    found = [(resid_pre(0), slice(0, 1), 0)]
    for layer in range(graph.n_layers):
        found.append(
            (z(layer), plain.writer_slice(layer), layer if graph.has_mlp and not graph.parallel else layer + 1)
        )
        if graph.has_mlp:
            found.append((mlp_out(layer), plain.writer_slice(layer, "m"), layer + 1))
    return found


def _read_along(batch: Batch, site: Site, steps: int, into: Reading) -> None:
    model, side = batch.model, batch.kept.own
    tokens = batch.tokens(side)
    ends = [capture(model, ids, site)[site] for ids in (tokens, batch.tokens(batch.kept.other))]
    for shares in midpoints(steps).split(batch.plan.runs):
        values = between(ends[0], ends[1], shares)

        def write(value: torch.Tensor, values: torch.Tensor = values) -> torch.Tensor:
            return values.to(value)

        with hooked(hook_point(model, site), write):
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
