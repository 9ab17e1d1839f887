"""What a set of circuits asks of one folded run: which readers to correct, from which writers, in which form.

A reader's stream is a sum, so that with D_u = (what writer u writes now) - (what stands in for it)

    x_v = x_all_ablated + sum over kept u of D_u = x_now - sum over removed u of D_u

and each reader takes the shorter of the two sums. Readers all of whose edges are kept are left alone, readers with
none read the ablated stream, and a reader that cannot reach the logits through the circuit is not looked at. Where the
stand-ins come from a whole other run, a writer that the embedding does not reach writes what stands in for it anyway.
With a norm behind attention the heads of a layer share a scale, and each of them moves what the others write.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.circuits.graph import Graph

LEAVE, ABLATED, KEPT, REMOVED = range(4)
"""A reader reads the run's own stream; the ablated one; that plus what is kept; the run's own minus what is removed."""


@dataclass(frozen=True, eq=False)
class Plane:
    """The circuits at one set of tokens: all of them, or those of one role.

    tokens: Int[token] of the flattened [batch, pos], None for all. how: Int[circuit, reader], one of LEAVE, ABLATED,
    KEPT, REMOVED. used: for each circuit the writers that a sum needs, ascending. coefficients: for each circuit
    [reader, used]: 1 for kept writers, -1 for removed ones.
    """

    tokens: Int[Tensor, " token"] | None
    how: Int[Tensor, "circuit reader"]
    used: tuple[Int[Tensor, " _used"], ...]
    coefficients: tuple[Float[Tensor, "_reader _used"], ...]


@dataclass(frozen=True, eq=False)
class Plan:
    """Planes of a set of circuits; start: the first block with a reader to correct (n_layers: only the logits), None
    when nothing is to be done for any of them."""

    planes: tuple[Plane, ...]
    start: int | None

    @property
    def n_changes(self) -> int:
        """Most writers that a circuit needs recorded, at all tokens."""
        return max((len(used) for plane in self.planes for used in plane.used), default=0)


def plan(
    graph: Graph,
    masks: Bool[Tensor, "circuit writers readers"],
    tokens: tuple[Int[Tensor, " _token"], ...] | None,
    from_a_run: bool,
    shared_scale: bool = False,
    dtype: torch.dtype = torch.float32,
) -> Plan:
    """Plan a run of these circuits. tokens: of each role of a graph over positions. from_a_run: whether the stand-ins
    are what every writer wrote in one other run (counterfactual, resample). shared_scale: whether attention's output is
    normalised, so that a layer's heads hang together."""
    flat = graph.with_positions(None)
    if tokens is None:
        relevant = _reaching_logits(flat, masks, shared_scale)
        # Away from named positions information flows unseen, so only here can anything be left out.
        reached = _reached(flat, masks, shared_scale) if from_a_run else torch.ones(masks.shape[:2], dtype=torch.bool)
        planes = [_plane(flat, masks, relevant, reached, None, dtype)]
    else:
        at_places = masks.view(len(masks), len(flat.writers), graph.places, len(flat.readers), graph.places)
        by_role = at_places.diagonal(dim1=2, dim2=4).unbind(-1)
        planes = []
        for part, where in zip(by_role, tokens, strict=True):
            everything = torch.ones(part.shape[0], part.shape[2], dtype=torch.bool)
            reached = torch.ones(part.shape[:2], dtype=torch.bool)
            planes.append(_plane(flat, part, everything, reached, where, dtype))
    layers = [flat.reader_layer[(plane.how != LEAVE).any(0)] for plane in planes]
    touched = torch.cat(layers)
    return Plan(tuple(planes), int(touched.min()) if len(touched) else None)


def _plane(
    graph: Graph,
    masks: Bool[Tensor, "circuit writers readers"],
    relevant: Bool[Tensor, "circuit readers"],
    reached: Bool[Tensor, "circuit writers"],
    tokens: Tensor | None,
    dtype: torch.dtype,
) -> Plane:
    existing = graph.exists & relevant[:, None]
    removed = existing & ~masks
    kept = existing & masks & reached[:, :, None]
    n_removed, n_kept = removed.sum(1), kept.sum(1)
    how = torch.where(n_kept <= n_removed, KEPT, REMOVED)
    how[n_kept == 0] = ABLATED
    how[(n_removed == 0) | ~relevant] = LEAVE
    signed = (kept & (how == KEPT)[:, None]).to(dtype) - (removed & (how == REMOVED)[:, None]).to(dtype)
    used = tuple(row.nonzero()[:, 0] for row in (signed != 0).any(2))
    return Plane(tokens, how, used, tuple(own[rows].T.contiguous() for own, rows in zip(signed, used)))


def _reaching_logits(
    graph: Graph, masks: Bool[Tensor, "circuit writers readers"], shared_scale: bool
) -> Bool[Tensor, "circuit readers"]:
    """Readers from which the circuit leads on to the logits."""
    relevant = torch.zeros(len(masks), len(graph.readers), dtype=torch.bool)
    relevant[:, graph.reader_slice(graph.n_layers, "logits")] = True
    per_group = graph.n_heads // graph.n_key_value_heads
    for layer in reversed(range(graph.n_layers)):
        if graph.has_mlp:
            rows = graph.writer_slice(layer, "m")
            relevant[:, graph.reader_slice(layer, "m")] = (masks[:, rows] & relevant[:, None]).any(2)
        heads = (masks[:, graph.writer_slice(layer)] & relevant[:, None]).any(2)
        heads = heads.any(1, keepdim=True).expand_as(heads) if shared_scale else heads
        groups = heads.unflatten(1, (-1, per_group)).any(2)
        for letter, here in (("q", heads), ("k", groups), ("v", groups)):
            relevant[:, graph.reader_slice(layer, letter)] = here
    return relevant


def _reached(
    graph: Graph, masks: Bool[Tensor, "circuit writers readers"], shared_scale: bool
) -> Bool[Tensor, "circuit writers"]:
    """Writers to which the circuit leads from the embedding."""
    reached = torch.zeros(len(masks), len(graph.writers), dtype=torch.bool)
    reached[:, 0] = True
    per_group = graph.n_heads // graph.n_key_value_heads

    def reads(layer: int, letter: str) -> Tensor:
        return (masks[:, :, graph.reader_slice(layer, letter)] & reached[:, :, None]).any(1)

    for layer in range(graph.n_layers):
        groups = (reads(layer, "k") | reads(layer, "v")).repeat_interleave(per_group, dim=1)
        heads = reads(layer, "q") | groups
        reached[:, graph.writer_slice(layer)] = heads.any(1, keepdim=True) if shared_scale else heads
        if graph.has_mlp:
            reached[:, graph.writer_slice(layer, "m")] = reads(layer, "m")
    return reached
