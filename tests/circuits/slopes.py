"""The slope of the metric along single edges, by exact patching with a small part of the difference."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from interp.circuits import EdgeScores
from interp.tasks import PromptPairs
from tests.circuits.one_reader_at_a_time import OneReaderAtATime

SIZE = 5e-3


def assert_slopes(model: Any, task: PromptPairs, scores: EdgeScores, n_edges: int) -> None:
    """Hold scores at the clean run, kept for every prompt, against the slopes of some random edges."""
    slow, graph = OneReaderAtATime(model), scores.graph
    own, other = slow.run(task.clean)[1], slow.run(task.corrupt)[1]
    every = graph.exists.nonzero()
    some = every[torch.randperm(len(every), generator=torch.Generator().manual_seed(1))[:n_edges]].tolist()
    for row, column in some:
        edge = (graph.writers[row], graph.readers[column])
        ends: list[Tensor] = []
        for step in (SIZE, -SIZE):
            moved = {writer: value + step * (other[writer] - value) for writer, value in own.items()}
            ends.append(task.metric(slow.run(task.clean, [edge], moved)[0]))
        slope = (ends[1] - ends[0]) / (2 * SIZE)
        found = scores.per_example.data[:, row, column]
        assert torch.allclose(found, slope, atol=0.02 * float(slope.abs().max()) + 2e-3), edge
