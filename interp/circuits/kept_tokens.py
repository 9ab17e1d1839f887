"""Which tokens can carry an edge's effect, and which prompt each belongs to.

Before the first token at which clean and corrupt differ nothing has changed, and what comes after the last position
that the metric reads cannot move it: both are left out. In a graph over token positions only the roles are kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from interp.circuits.graph import Graph
from interp.errors import InputError, unknown
from interp.hooks.prompts import PromptTokens
from interp.tasks import PromptPairs
from interp.tasks.metric import Metric


@dataclass(frozen=True)
class Segment:
    """Tokens start .. stop - 1 of the kept ones: of one prompt, and at one place (role) of the graph."""

    example: int
    place: int
    start: int
    stop: int


@dataclass(frozen=True, eq=False)
class Side:
    """One of the two runs of a batch. tokens: cut behind the last position that is needed; metric: of its prompts;
    at: the position of each kept token."""

    tokens: Int[Tensor, "batch pos"]
    metric: Metric
    at: Int[Tensor, " kept"]


@dataclass(frozen=True, eq=False)
class KeptTokens:
    """The kept tokens of a batch of pairs. own: the run at which gradients are taken; other: the other run.

    rows: the pair of each token. sign: what makes own - other into clean - corrupt.
    """

    own: Side
    other: Side
    rows: Int[Tensor, " kept"]
    segments: tuple[Segment, ...]
    sign: float

    def __len__(self) -> int:
        return len(self.rows)


def kept_tokens(task: PromptPairs, graph: Graph, at: str) -> KeptTokens:
    """The tokens that count for a batch of pairs; `at` is "clean" or "corrupt", the run at which gradients are taken.

    Raises InputError for pairs that differ in length, unless the graph names positions, and for roles that they lack.
    """
    clean, corrupt = (task.clean, task.metric), (task.corrupt, task.corrupt_metric)
    (own, metric), (other, other_metric) = (clean, corrupt) if at == "clean" else (corrupt, clean)
    ends = [side.readout.positions.max(1).values.cpu() + 1 for side in (metric, other_metric)]
    if graph.positions is not None:
        rows, at_own, at_other, segments = _at_roles(graph.positions, own, other, ends)
    elif not task.aligned:
        raise InputError(
            "clean and corrupt prompts differ in length; score a graph over positions, Graph.of(model, task.roles)"
        )
    else:
        rows, at_own, segments = _between(task.divergence.cpu(), ends[0])
        at_other = at_own
    # Both runs are cut alike, so that they can be lined up.
    last = max(int(end.max()) for end in (*ends, *(where + 1 for where in (at_own, at_other) if len(where))))
    sides = [
        Side(tokens.as_subclass(Tensor)[:, :last], scored, where)
        for tokens, scored, where in ((own, metric, at_own), (other, other_metric, at_other))
    ]
    return KeptTokens(sides[0], sides[1], rows, segments, 1.0 if at == "clean" else -1.0)


def most_tokens(task: PromptPairs, graph: Graph) -> int:
    """The most tokens that are kept of any pair."""
    if graph.positions is not None:
        return len(graph.positions)
    last = task.metric.readout.positions.max(1).values.cpu() + 1
    return max(1, int((last - task.divergence.cpu()).max()))


def _between(
    first: Int[Tensor, " batch"], end: Int[Tensor, " batch"]
) -> tuple[Int[Tensor, " kept"], Int[Tensor, " kept"], tuple[Segment, ...]]:
    rows, at, segments, start = [], [], [], 0
    for example, (begin, stop) in enumerate(zip(first.tolist(), end.tolist())):
        count = max(0, stop - begin)
        rows.append(torch.full((count,), example))
        at.append(torch.arange(begin, begin + count))
        segments.append(Segment(example, 0, start, start + count))
        start += count
    return torch.cat(rows), torch.cat(at), tuple(segment for segment in segments if segment.stop > segment.start)


def _at_roles(
    roles: tuple[str, ...], own: PromptTokens, other: PromptTokens, ends: list[Int[Tensor, " batch"]]
) -> tuple[Int[Tensor, " kept"], Int[Tensor, " kept"], Int[Tensor, " kept"], tuple[Segment, ...]]:
    for role in roles:
        if role not in own.positions:
            raise unknown("role of these prompts", role, own.positions)
    segments: list[Segment] = []
    rows: list[int] = []
    at_own: list[int] = []
    at_other: list[int] = []
    for example in range(len(own)):
        for place, role in enumerate(roles):
            here, there = int(own.positions[role][example]), int(other.positions[role][example])
            if here < int(ends[0][example]):
                segments.append(Segment(example, place, len(rows), len(rows) + 1))
                rows.append(example)
                at_own.append(here)
                at_other.append(there)
    return torch.tensor(rows), torch.tensor(at_own), torch.tensor(at_other), tuple(segments)
