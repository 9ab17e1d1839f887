"""The effect of every edge itself, by patching one edge at a time: what all estimates are estimates of.

Conmy et al. 2023, "Towards Automated Circuit Discovery for Mechanistic Interpretability", section 3 (edge patching);
Goldowsky-Dill et al. 2023, "Localizing Model Behavior with Path Patching". A run an edge and prompt, from the block at
which the edge ends: choose edges on all but small models.

The option `value` puts something else than the paired prompt's activations on the edge, as circuits are judged by it:
zero, mean or resample (drawn by `seed`), in the clean run only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from interp.circuits.graph import Graph
from interp.circuits.masks import MaskRunner
from interp.circuits.scoring.batches import Scored, Settings
from interp.runs import progress
from interp.tasks import PromptPairs

NEEDS_GRADIENTS = False
OPTIONS: dict[str, Any] = {"value": "counterfactual", "seed": 0}
MASKS_AT_ONCE = 128


def scores(model: Any, task: PromptPairs, graph: Graph, settings: Settings) -> Iterator[Scored]:
    """m(clean) - m(edge corrupted), or m(edge clean) - m(corrupt) for at="corrupt", edge by edge."""
    direction, sign = ("noise", 1.0) if settings.at == "clean" else ("denoise", -1.0)
    options = OPTIONS | dict(settings.options)
    runner = MaskRunner(
        model,
        task,
        graph,
        value=options["value"],
        direction=direction,
        seed=options["seed"],
        batch_size=settings.batch_size,
        memory_budget=settings.memory_budget,
    )
    edges = graph.exists.T.nonzero().flip(1) if settings.edges is None else _indices(graph, settings)
    own = runner.untouched()
    found = torch.zeros(len(task), *graph.exists.shape)
    with progress(len(edges), "patching edges") as bar:
        for chosen in edges.split(MASKS_AT_ONCE):
            masks = graph.exists.expand(len(chosen), -1, -1).clone()
            rows, columns = chosen.unbind(1)
            masks[torch.arange(len(chosen)), rows, columns] = False
            found[:, rows, columns] = sign * (own - runner.metric(masks)).T.float().cpu()
            bar.advance(len(chosen))
    everything = torch.zeros_like(graph.exists)[None]
    yield Scored(found, own, runner.metric(everything)[0], runner.batch_size)


def _indices(graph: Graph, settings: Settings) -> torch.Tensor:
    """(row, column) of the chosen edges, reader by reader."""
    assert settings.edges is not None
    chosen = torch.tensor([graph.edge_index(edge) for edge in settings.edges])
    return chosen[chosen[:, 1].argsort(stable=True)]
