"""Random circuits to compare with: as many edges into every layer as the circuit has, all of them connected.

Uniformly drawn edges are a straw man: hardly any of them lies on a path from the embedding to the logits, so that such
a "circuit" computes what the empty one does. Here every edge lies on such a path, and every layer reads as many edges.
Built from the logits down: a layer's edges are drawn among those into nodes that something above reads, no node is read
that has no edge left to read by, and a layer that nothing above reads takes over one edge's source.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from interp.circuits.circuit import Circuit
from interp.circuits.graph import Graph
from interp.errors import InputError

ATTEMPTS = 50


def random_circuits(circuit: Circuit, n: int, seed: int = 0) -> list[Circuit]:
    """`n` connected circuits with as many edges into each layer as `circuit` has in its connected part.

    Raises InputError for a circuit of which no edge is connected, or that fills its layers so that none can be drawn.
    """
    pruned = circuit.prune()
    if pruned.n_edges == 0:
        raise InputError("no edge of the circuit leads from the embedding to the logits; there is nothing to compare")
    generator = np.random.default_rng(seed)
    quota = layer_histogram(pruned)
    return [_draw(circuit.graph, quota, generator) for _ in range(n)]


def layer_histogram(circuit: Circuit) -> Int[Tensor, " layers"]:
    """How many edges lead into the readers of each layer; the logits are the last."""
    into = circuit.mask.sum(0)
    counts = torch.zeros(circuit.graph.n_layers + 1, dtype=torch.long)
    return counts.index_add_(0, circuit.graph.reader_layer, into)


def _draw(graph: Graph, quota: Int[Tensor, " layers"], generator: np.random.Generator) -> Circuit:
    for _ in range(ATTEMPTS):
        mask = _Growth(graph, quota.tolist(), generator).mask()
        if mask is not None:
            drawn = Circuit(graph, torch.from_numpy(mask), {"search": "random", "edges by layer": quota.tolist()})
            if torch.equal(drawn.prune().mask, drawn.mask):
                return drawn
    raise InputError(
        "no connected random circuit has this circuit's number of edges in every layer; give a smaller one"
    )


class _Growth:
    """One random circuit, layer by layer from the logits down."""

    def __init__(self, graph: Graph, quota: list[int], generator: np.random.Generator) -> None:
        self.graph, self.quota, self.generator = graph, quota, generator
        self.exists, self.feeds = graph.exists.numpy(), graph.feeds.numpy()
        self.writer_layer = graph.writer_layer.numpy()
        self.layer_of = graph.writer_layer.tolist()
        self.reader_layer = graph.reader_layer.numpy()
        self.drawn = np.zeros_like(self.exists)
        self.wanted = self.writer_layer < 0
        self.n_wanted = [0] * graph.n_layers

    def mask(self) -> np.ndarray | None:
        """The edges, or None when the draws so far leave some layer's number out of reach."""
        for layer in reversed(range(self.graph.n_layers + 1)):
            if self.quota[layer] and not self._fill(layer):
                return None
        return self.drawn

    def _fill(self, layer: int) -> bool:
        """Draw a layer's edges: one for each node that is read, then the rest."""
        needed = self.quota[layer]
        while True:
            readers = self._open_readers(layer)
            possible = self.exists[:, readers] & self._may_write(layer)[:, None]
            if len(readers) and possible.sum() >= needed:
                break
            if layer == self.graph.n_layers or not self._want_another(layer):
                return False
        for group in self._nodes(layer, readers):
            if needed and not self.drawn[:, group].any():
                needed -= self._add(layer, group, 1)
        while needed:
            added = self._add(layer, readers, needed)
            if not added:
                return False
            needed -= added
        return True

    def _add(self, layer: int, readers: np.ndarray, n: int) -> int:
        """Draw up to `n` edges into some readers; returns how many."""
        free = self.exists[:, readers] & ~self.drawn[:, readers] & self._may_write(layer)[:, None]
        rows, columns = free.nonzero()
        order = self.generator.permutation(len(rows))[:n]
        added = 0
        for row, column in zip(rows[order], readers[columns[order]]):
            if self.wanted[row] or self._has_room(self.layer_of[row]):
                self._want(row)
                self.drawn[row, column] = True
                added += 1
        return added

    def _open_readers(self, layer: int) -> np.ndarray:
        """Readers of a layer whose node is read above."""
        mine = self.reader_layer == layer
        if layer == self.graph.n_layers:
            return mine.nonzero()[0]
        return (mine & (self.feeds & self.wanted).any(1)).nonzero()[0]

    def _nodes(self, layer: int, readers: np.ndarray) -> Iterator[np.ndarray]:
        """The readers of each node of the layer that is read, in random order; each node needs an edge."""
        if layer == self.graph.n_layers:
            return
        nodes = ((self.writer_layer == layer) & self.wanted).nonzero()[0]
        for node in self.generator.permutation(nodes):
            yield readers[self.feeds[readers, node]]

    def _may_write(self, layer: int) -> np.ndarray:
        """Writers that are read already, or whose layer has an edge to spare."""
        room = np.array([True, *(self._has_room(other) for other in range(self.graph.n_layers))])
        return self.wanted | room[self.writer_layer + 1]

    def _has_room(self, layer: int) -> bool:
        """Whether another node of a layer may be read: it will need an edge of its own."""
        return layer < 0 or self.n_wanted[layer] < self.quota[layer]

    def _want(self, row: Any) -> None:
        if not self.wanted[row]:
            self.wanted[row] = True
            self.n_wanted[self.layer_of[row]] += 1

    def _want_another(self, layer: int) -> bool:
        """Make some drawn edge above come from a node of this layer that nothing reads yet."""
        if not self._has_room(layer):
            return False
        nodes = self.generator.permutation(((self.writer_layer == layer) & ~self.wanted).nonzero()[0])
        # A writer that is read once more elsewhere, or the embedding, can spare an edge.
        spare = (self.drawn.sum(1) > 1) | (self.writer_layer < 0)
        rows, columns = (self.drawn & spare[:, None]).nonzero()
        for node in nodes:
            fits = self.exists[node, columns] & ~self.drawn[node, columns]
            if fits.any():
                place = self.generator.choice(fits.nonzero()[0])
                self.drawn[rows[place], columns[place]] = False
                self.drawn[node, columns[place]] = True
                self._want(node)
                return True
        return False


def inflated(circuit: Circuit, n: int, seed: int = 0) -> list[tuple[Circuit, tuple[int, int]]]:
    """`n` times the circuit with a random path from the embedding to the logits added, and one of the path's new edges.

    Shi et al. 2024, section 3.3: edges that a circuit does not need, to hold its own edges against.
    """
    generator = np.random.default_rng(seed)
    made: list[tuple[Circuit, tuple[int, int]]] = []
    for _ in range(ATTEMPTS * n):
        if len(made) == n:
            return made
        path = random_path(circuit.graph, generator)
        new = (path & ~circuit.mask).nonzero()
        if len(new):
            row, column = new[generator.integers(len(new))].tolist()
            made.append((Circuit(circuit.graph, circuit.mask | path), (row, column)))
    raise InputError("nearly every path of the graph is in the circuit already, so none can be added")


def random_path(graph: Graph, generator: np.random.Generator) -> Bool[Tensor, "writers readers"]:
    """A random path, from the logits back to the embedding; every step is drawn from all edges that exist."""
    mask = torch.zeros_like(graph.exists)
    readers = (graph.reader_layer == graph.n_layers).nonzero()[:, 0]
    while True:
        column = int(readers[generator.integers(len(readers))])
        rows = graph.exists[:, column].nonzero()[:, 0]
        row = int(rows[generator.integers(len(rows))])
        mask[row, column] = True
        if graph.writer_layer[row] < 0:
            return mask
        readers = graph.feeds[:, row].nonzero()[:, 0]
