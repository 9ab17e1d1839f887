"""Scores of all edges from what writers wrote and what readers' gradients are: a few matrix products.

    score(u -> v) = Σ_tokens  Δ_u · Jᵀ W_v dq_v

with Δ_u what writer u wrote on the clean prompt less what it wrote on the corrupt one, dq_v the gradient at the
queries, keys or values, and J the Jacobian of the norm before them. d_model-sized vectors of all heads exist for a tile
of tokens only; scores are summed in float32 (or wider), prompt by prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interp.circuits.blocks import Block
from interp.circuits.graph import Graph
from interp.circuits.kept_tokens import KeptTokens, Segment
from interp.circuits.norms import norm_of
from interp.circuits.recording import LayerReading, Reading, Written

READERS_AT_ONCE = 64
"""Readers that share a product, at least: few columns make a product that waits for memory. Writers that come between
them are multiplied in vain, which costs less."""


@torch.no_grad()
def contract(
    model: Any,
    graph: Graph,
    blocks: Sequence[Block],
    difference: Written,
    reading: Reading,
    kept: KeptTokens,
    n_examples: int,
    tile_tokens: int,
    writers: slice = slice(None),
) -> Float[Tensor, "example writers readers"]:
    """The score of every edge for every prompt. writers: only those rows (of a graph without positions)."""
    device, dtype = difference.embed.device, difference.embed.dtype
    shape = (n_examples, len(graph.writers), len(graph.readers))
    scores = torch.zeros(shape, device=device, dtype=dtype)
    tile = _Tile(model, graph.with_positions(None), blocks, reading, writers)
    for tokens, segments in _tiles(kept.segments, tile_tokens):
        views = [_at_place(scores[segment.example], graph, segment.place) for segment in segments]
        bounds = [slice(segment.start - tokens.start, segment.stop - tokens.start) for segment in segments]
        for rows, columns, left, right in tile.products(difference.rows(tokens), tokens):
            for view, part in zip(views, bounds):
                view[rows, columns] += left[:, part].flatten(1) @ right[:, part].flatten(1).T
    return scores.mul_(graph.exists.to(device))


def readers_at_once(graph: Graph) -> list[list[int]]:
    """Blocks whose readers share a product; the logits go with the last of them."""
    a_layer = graph.with_positions(None).reader_slice(1, "q").start if graph.n_layers > 1 else READERS_AT_ONCE
    size = -(-READERS_AT_ONCE // a_layer)
    return [list(range(start, min(start + size, graph.n_layers))) for start in range(0, graph.n_layers, size)]


class _Tile:
    """Makes the d_model-sized vectors of one tile of tokens: all writers, then a few layers' readers at a time."""

    def __init__(self, model: Any, graph: Graph, blocks: Sequence[Block], reading: Reading, writers: slice) -> None:
        self.graph, self.blocks, self.reading = graph, blocks, reading
        self.first, self.last, _ = writers.indices(len(graph.writers))
        norms = [norm for block in blocks for norm in _norms_before(block)]
        # Where every reader centres, centring what is written instead saves centring every reader's gradient.
        self._centre_writers = all(norm.centres for norm in [*norms, norm_of(getattr(model, "ln_final", None))])

    def products(
        self, difference: Written, tokens: slice
    ) -> Iterator[tuple[slice, slice, Float[Tensor, "writer token d"], Float[Tensor, "reader token d"]]]:
        """Rows and columns of the score matrix, and the two factors whose product over tokens and d they are.

        Products also fall on pairs that are no edges.
        """
        written, graph = self._writers(difference), self.graph
        made: Tensor | None = None
        for layers in readers_at_once(graph):
            start = graph.reader_slice(layers[0], "q").start
            stop = graph.reader_slice(layers[-1] + 1, "q").start
            seen = graph.n_writers_before(layers[-1], graph.letters[-1])
            if layers[-1] == graph.n_layers - 1:
                stop, seen = len(graph.readers), len(graph.writers)
            seen = min(seen, self.last)
            if seen <= self.first or (layers[-1] < self.reading.first and stop < len(graph.readers)):
                continue
            if made is None or len(made) < stop - start:
                made = written.new_empty(stop - start, *written.shape[1:])
            gradients = made[: stop - start]
            self._fill(gradients, layers, start, tokens)
            yield slice(self.first, seen), slice(start, stop), written[: seen - self.first], gradients

    def _writers(self, difference: Written) -> Float[Tensor, "writer token d"]:
        embed, graph = difference.embed, self.graph
        written = embed.new_empty(self.last - self.first, *embed.shape)
        self._write(written, 0, embed)
        for block in self.blocks:
            self._write_heads(written, graph.writer_slice(block.layer).start, block, difference.z[block.layer])
            if difference.mlp:
                self._write(written, graph.writer_slice(block.layer, "m").start, difference.mlp[block.layer])
        return written

    def _write(self, written: Tensor, row: int, values: Float[Tensor, "token d"]) -> None:
        if self.first <= row < self.last:
            into = written[row - self.first]
            into.copy_(values)
            if self._centre_writers:
                into -= into.mean(-1, keepdim=True)

    def _write_heads(self, written: Tensor, row: int, block: Block, z: Float[Tensor, "token head d_head"]) -> None:
        start, stop = max(row, self.first), min(row + z.shape[1], self.last)
        if start >= stop:
            return
        heads = slice(start - row, stop - row)
        weight = block.out_matrix[heads]
        if self._centre_writers:
            weight = weight - weight.mean(-1, keepdim=True)
        torch.bmm(z[:, heads].transpose(0, 1), weight, out=written[start - self.first : stop - self.first])

    def _fill(self, gradients: Float[Tensor, "reader token d"], layers: list[int], start: int, tokens: slice) -> None:
        """Put the gradients of some layers' readers into their rows."""
        graph = self.graph
        for n in layers:
            layer, queries = self.reading.layers[n], graph.reader_slice(n, "q").start - start
            heads = gradients[queries : queries + self.blocks[n].n_readers]
            if layer.heads is None:
                heads.zero_()
            else:
                self._fill_heads(heads, layer.heads[tokens], self.blocks[n], layer, tokens)
            if graph.has_mlp:
                _put(gradients[graph.reader_slice(n, "m").start - start], layer.mlp, tokens)
        if layers[-1] == graph.n_layers - 1:
            _put(gradients[-1], self.reading.final, tokens)

    def _fill_heads(
        self,
        made: Float[Tensor, "reader token d"],
        heads: Float[Tensor, "token reader d_head"],
        block: Block,
        layer: LayerReading,
        tokens: slice,
    ) -> None:
        """Jᵀ W dq of every query, key and value of a layer."""
        heads = heads.transpose(0, 1)
        norm = block.before_attention
        for letter in "qkv":
            columns = block.columns(letter)
            torch.bmm(heads[columns], norm.fold_in(block.matrix(letter)).mT, out=made[columns])
        if norm.centres and not self._centre_writers:
            made -= made.mean(-1, keepdim=True)
        for normed, along in zip(layer.normed, layer.along):
            for x, share in zip(normed, along):
                made.addcmul_(x[None, tokens], share[tokens].T[..., None], value=-1)


def _put(row: Float[Tensor, "token d"], values: Float[Tensor, "all_tokens d"] | None, tokens: slice) -> None:
    """Copy some tokens' values; nothing depends on a reader that was not recorded."""
    if values is None:
        row.zero_()
    else:
        row.copy_(values[tokens])


def _norms_before(block: Block) -> list[Any]:
    return [block.before_attention, *([block.before_mlp] if block.has_mlp else [])]


def _tiles(segments: Sequence[Segment], size: int) -> Iterator[tuple[slice, list[Segment]]]:
    """Runs of at most `size` tokens, and the (parts of) segments in each; segments follow each other."""
    if not segments:
        return
    total = segments[-1].stop
    for start in range(0, total, size):
        stop = min(start + size, total)
        inside = [
            Segment(part.example, part.place, max(part.start, start), min(part.stop, stop))
            for part in segments
            if part.start < stop and part.stop > start
        ]
        yield slice(start, stop), inside


def _at_place(scores: Float[Tensor, "writers readers"], graph: Graph, place: int) -> Tensor:
    """The scores among nodes at one place: a view [writers, readers] of the graph without positions."""
    places = graph.places
    return scores.unflatten(0, (-1, places)).unflatten(2, (-1, places))[:, place, :, place]
