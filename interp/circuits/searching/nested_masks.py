"""Removing parts one after the other, several decisions a forward pass, with the decisions of one at a time.

The next K parts are tried as nested circuits: without the first, without the first two, ... without all K, folded into
one batch. As long as each adds less than the threshold to the damage of the one before, these are the very circuits
that one removal after the other would have run. The first that adds more is kept, and the runs behind it, which took
it for removed, are thrown away. K doubles when all of a batch are removed and halves when one is kept.

Where a part leads only to readers that the circuit has already cut off from the logits, removing it changes nothing,
and no run is spent on it. Parts are tried from the logits backwards, so that every pass starts at the first block in
which an edge is gone (the mask runner sees to that).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from interp.circuits.graph import Graph
from interp.circuits.projections import projections
from interp.circuits.searching.damage import Damage

FIRST_TRIED = 8
MOST_TRIED = 128
MOST_BYTES = 2**26
"""Of the masks of one batch."""

Mask = Bool[Tensor, "writers readers"]


@dataclass(frozen=True, eq=False)
class Trials:
    """Sets of edges to be tried in turn. edges: all of them, (row, column), trial after trial; bounds: where each
    trial begins, and the end; places: by trial, a number that is the same for trials whose readers belong to one node
    (they reach the logits alike, whatever is removed before them)."""

    edges: Int[Tensor, "edge 2"]
    bounds: tuple[int, ...]
    places: tuple[int, ...]

    @classmethod
    def of(cls, mask: Mask, place: Int[Tensor, "writers readers"], within: Int[Tensor, "writers readers"]) -> Trials:
        """The edges of a mask, those with equal `place` and `within` together; the largest place, then the largest
        within, is tried first."""
        edges = mask.nonzero()
        keys = torch.stack([place[mask], within[mask]])
        order = (keys[0] * (int(within.max()) + 1) + keys[1]).argsort(descending=True, stable=True)
        edges, keys = edges[order], keys[:, order]
        first = torch.ones(len(edges), dtype=torch.bool)
        first[1:] = (keys[:, 1:] != keys[:, :-1]).any(0)
        starts = first.nonzero()[:, 0]
        return cls(edges, (*starts.tolist(), len(edges)), tuple(keys[0, starts].tolist()))

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, trial: int) -> tuple[Tensor, Tensor]:
        rows, columns = self.edges[self.bounds[trial] : self.bounds[trial + 1]].T
        return rows, columns


@dataclass(frozen=True, eq=False)
class State:
    """How far a search is: how many trials are decided, which of them are kept, what is left of the mask, and its
    damage. n_circuits: how many circuits were run for it; n_batches: in how many goes."""

    n_decided: int
    kept: tuple[int, ...]
    mask: Mask
    damage: float
    n_circuits: int = 0
    n_batches: int = 0


def restored(trials: Trials, start: Mask, n_decided: int, kept: tuple[int, ...]) -> Mask:
    """The mask after so many decisions."""
    mask = start.clone()
    if n_decided:
        rows, columns = trials.edges[: trials.bounds[n_decided]].T
        mask[rows, columns] = False
    for trial in kept:
        rows, columns = trials[trial]
        mask[rows, columns] = start[rows, columns]
    return mask


def decide_all(
    trials: Trials,
    state: State,
    damage: Damage,
    threshold: float,
    decided: Callable[[State], None],
) -> State:
    """Decide all trials that are left: a set of edges stays when removing it adds `threshold` or more to the damage.

    decided: told after every batch how far it is.
    """
    graph = damage.runner.graph
    most = max(1, min(MOST_TRIED, MOST_BYTES // graph.exists.numel()))
    size = min(FIRST_TRIED, most)
    while state.n_decided < len(trials):
        state, all_removed = _decide_some(trials, state, damage, threshold, size)
        size = min(2 * size, most) if all_removed else max(1, size // 2)
        decided(state)
    return state


@dataclass(frozen=True, eq=False)
class _Proposal:
    """The mask without a trial and all that was tried before it; before: which of the trial's edges were there."""

    trial: int
    mask: Mask
    before: Bool[Tensor, " edge"]


def _decide_some(trials: Trials, state: State, damage: Damage, threshold: float, size: int) -> tuple[State, bool]:
    proposals, mask, n_decided = _propose(trials, state, damage, size)
    kept, level = state.kept, state.damage
    found = damage(torch.stack([each.mask for each in proposals])).tolist() if proposals else []
    all_removed = True
    for proposal, value in zip(proposals, found):
        if value - level < threshold:
            level = value
            continue
        rows, columns = trials[proposal.trial]
        mask = proposal.mask.clone()
        mask[rows, columns] = proposal.before
        kept, n_decided, all_removed = (*kept, proposal.trial), proposal.trial + 1, False
        break
    n_batches = state.n_batches + bool(proposals)
    return State(n_decided, kept, mask, level, state.n_circuits + len(proposals), n_batches), all_removed


def _propose(trials: Trials, state: State, damage: Damage, size: int) -> tuple[list[_Proposal], Mask, int]:
    """The next trials that are worth a run, and the mask and the number of trials behind them if all are removed."""
    runner = damage.runner
    mask, trial, place = state.mask.clone(), state.n_decided, None
    # Away from named positions information flows through every head, so that no reader is ever cut off.
    everything = torch.ones(mask.shape[1], dtype=torch.bool)
    alive = everything
    proposals: list[_Proposal] = []
    while trial < len(trials) and len(proposals) < size:
        rows, columns = trials[trial]
        if trials.places[trial] != place and runner.graph.positions is None:
            place, alive = trials.places[trial], reaching_logits(runner.graph, mask, heads_hang_together(damage))
        before = mask[rows, columns]
        worth_a_run = bool((before & alive[columns]).any())
        mask[rows, columns] = False
        if worth_a_run:
            proposals.append(_Proposal(trial, mask.clone(), before))
        trial += 1
    return proposals, mask, trial


def heads_hang_together(damage: Damage) -> bool:
    """Whether the heads of a layer share a scale, because a norm follows the attention."""
    return projections(damage.runner.model)[0].after.divides


def reaching_logits(graph: Graph, mask: Mask, shared_scale: bool = False) -> Bool[Tensor, " readers"]:
    """Readers from which the circuit leads on to the logits.

    shared_scale: a head moves what the other heads of its layer write.
    """
    alive = graph.reader_layer == graph.n_layers
    for layer in reversed(range(graph.n_layers)):
        for letters in ("m", "qkv"):
            if letters == "m" and not graph.has_mlp:
                continue
            rows = graph.writer_slice(layer, letters[0])
            heard = (mask[rows] & alive).any(1)
            heard = heard.any().expand_as(heard) if shared_scale and letters != "m" else heard
            for letter in letters:
                columns = graph.reader_slice(layer, letter)
                alive[columns] = (graph.feeds[columns, rows] & heard).any(1)
    return alive
