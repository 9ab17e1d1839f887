"""The sums that one circuit's readers read, made while its run goes on.

A layer's readers are few and the writers before it many, so that a product for one layer at a time waits for memory: it
reads everything written so far for 16 rows of output. The sums of the next `LAYERS_AHEAD` layers over what has been
written before them are one product, to which each layer then adds the little that was written since.
"""

from __future__ import annotations

from bisect import bisect_left

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.circuits.graph import Graph
from interp.circuits.mask_plans import KEPT, REMOVED, Plane
from interp.circuits.projections import Projections

LAYERS_AHEAD = 4
"""Layers whose sums share a product. Measured with SmolLM2-135M at half of its edges (see the benchmark)."""


class CircuitSums:
    """What one circuit's writers wrote at one set of tokens, minus what stands in for them: [used, token, d_model].

    tokens: of the flattened [batch, pos], None for all; how: by reader, as in a `Plane`.
    """

    def __init__(self, graph: Graph, plane: Plane, circuit: int, n_tokens: int, like: Tensor) -> None:
        self.graph, self.tokens, self.how = graph, plane.tokens, plane.how[circuit]
        self._used = plane.used[circuit].tolist()
        self._coefficients = plane.coefficients[circuit]
        n_tokens = n_tokens if plane.tokens is None else len(plane.tokens)
        self.written = like.new_empty(len(self._used), n_tokens, like.shape[-1])
        self._summed = (self.how == KEPT) | (self.how == REMOVED)
        self._block = -1
        self._rows: Int[Tensor, " readers"] = torch.zeros(0, dtype=torch.long)
        self._n_before_block = 0
        self._ahead: Tensor | None = None

    def needs(self, layer: int, letter: str) -> bool:
        """Whether some sum needs what a layer's heads (letter "a") or MLP ("m") write."""
        first, last = self._places(layer, letter)
        return last > first

    def note(self, layer: int, letter: str, change: Float[Tensor, "token d_model"]) -> None:
        """An MLP wrote (letter "m"), or the embedding (layer -1)."""
        first, last = (0, bisect_left(self._used, 1)) if layer < 0 else self._places(layer, letter)
        if last > first:
            self.written[first] = self.at(change)

    def note_heads(self, layer: int, change: Float[Tensor, "token head d_head"], own: Projections) -> None:
        """A layer's heads wrote; change: of their mixed values."""
        first, last = self._places(layer, "a")
        if last > first:
            start = self.graph.writer_slice(layer).start
            heads = torch.tensor(self._used[first:last]) - start
            torch.bmm(self.at(change)[:, heads].movedim(1, 0), own.write[heads], out=self.written[first:last])

    def sums(self, readers: Int[Tensor, " reader"], layer: int, letter: str) -> Float[Tensor, "reader token d_model"]:
        """Sums of a layer's readers (of one letter; q, k and v are alike) over all that was written before them."""
        if layer // LAYERS_AHEAD != self._block:
            self._look_ahead(layer)
        assert self._ahead is not None
        rows = self._rows[readers]
        size = self.written[0].numel() if len(self._used) else 0
        sums = self._ahead[rows]
        before = self._n_before(layer, letter)
        if before > self._n_before_block:
            since = slice(self._n_before_block, before)
            sums.addmm_(self._coefficients[readers, since], self.written[since].view(-1, size))
        return sums.view(len(readers), *self.written.shape[1:])

    def at(self, value: Float[Tensor, "token *rest"]) -> Tensor:
        """A value at this circuit's tokens."""
        return value if self.tokens is None else value[self.tokens]

    def _look_ahead(self, layer: int) -> None:
        """The sums of the next layers over what has been written so far."""
        self._block = layer // LAYERS_AHEAD
        layers = self.graph.reader_layer
        coming = self._summed & (layers >= layer) & (layers // LAYERS_AHEAD == self._block)
        self._rows = coming.cumsum(0) - 1
        self._n_before_block = self._n_before(layer, "q")
        known = self.written[: self._n_before_block].flatten(1)
        self._ahead = self._coefficients[coming, : self._n_before_block] @ known

    def _n_before(self, layer: int, letter: str) -> int:
        """How many of the used writers a reader comes after."""
        if layer == self.graph.n_layers:
            return len(self._used)
        return bisect_left(self._used, self.graph.n_writers_before(layer, letter))

    def _places(self, layer: int, letter: str) -> tuple[int, int]:
        rows = self.graph.writer_slice(layer, letter)
        return bisect_left(self._used, rows.start), bisect_left(self._used, rows.stop)
