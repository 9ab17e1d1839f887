"""Scores of all edges from what writers wrote and what readers' gradients are: one matrix product a layer.

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
    tile = _Tile(model, graph.with_positions(None), blocks, writers)
    for tokens, segments in _tiles(kept.segments, tile_tokens):
        views = [_at_place(scores[segment.example], graph, segment.place) for segment in segments]
        bounds = [slice(segment.start - tokens.start, segment.stop - tokens.start) for segment in segments]
        for rows, columns, left, right in tile.products(difference.rows(tokens), reading, tokens):
            for view, part in zip(views, bounds):
                view[rows, columns] += left[:, part].flatten(1) @ right[:, part].flatten(1).T
    return scores


class _Tile:
    """Makes the d_model-sized vectors of one tile of tokens, layer by layer."""

    def __init__(self, model: Any, graph: Graph, blocks: Sequence[Block], writers: slice) -> None:
        self.graph, self.blocks = graph, blocks
        self.first, self.last, _ = writers.indices(len(graph.writers))
        norms = [norm for block in blocks for norm in _norms_before(block)]
        # Where every reader centres, centring what is written instead saves centring every reader's gradient.
        self._centre_writers = all(norm.centres for norm in [*norms, norm_of(getattr(model, "ln_final", None))])

    def products(
        self, difference: Written, reading: Reading, tokens: slice
    ) -> Iterator[tuple[slice, slice, Float[Tensor, "writer token d"], Float[Tensor, "reader token d"]]]:
        """Rows and columns of the score matrix, and the two factors whose product over tokens and d they are."""
        graph, embed = self.graph, difference.embed
        written = embed.new_empty(self.last - self.first, *embed.shape)
        self._write(written, 0, embed[None])
        for block, layer in zip(self.blocks, reading.layers):
            n = block.layer
            if layer.heads is not None and graph.n_writers_before(n, "q") > self.first:
                columns = slice(graph.reader_slice(n, "q").start, graph.reader_slice(n, "v").stop)
                gradients = self._head_gradients(block, layer, tokens)
                yield *self._seen(written, graph.n_writers_before(n, "q"), columns), gradients
            self._write_heads(written, graph.writer_slice(n).start, block, difference.z[n])
            if layer.mlp is not None and graph.n_writers_before(n, "m") > self.first:
                columns = graph.reader_slice(n, "m")
                yield *self._seen(written, graph.n_writers_before(n, "m"), columns), layer.mlp[None, tokens]
            if difference.mlp:
                self._write(written, graph.writer_slice(n, "m").start, difference.mlp[n][None])
        if reading.final is not None:
            columns = graph.reader_slice(graph.n_layers, "logits")
            yield *self._seen(written, self.last, columns), reading.final[None, tokens]

    def _seen(self, written: Tensor, n: int, columns: slice) -> tuple[slice, slice, Tensor]:
        """The first n writers, as far as they are wanted."""
        stop = min(n, self.last)
        return slice(self.first, stop), columns, written[: stop - self.first]

    def _write(self, written: Tensor, row: int, values: Float[Tensor, "one token d"]) -> None:
        if self.first <= row < self.last:
            into = written[row - self.first : row - self.first + 1]
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

    def _head_gradients(
        self, block: Block, layer: LayerReading, tokens: slice
    ) -> Float[Tensor, "reader token d_model"]:
        """Jᵀ W dq of every query, key and value of a layer."""
        assert layer.heads is not None
        heads = layer.heads[tokens].transpose(0, 1)
        norm = block.before_attention
        width = block.matrix("q").shape[1]
        made = heads.new_empty(heads.shape[0], heads.shape[1], width)
        for letter in "qkv":
            columns = block.columns(letter)
            torch.bmm(heads[columns], norm.fold_in(block.matrix(letter)).mT, out=made[columns])
        if norm.centres and not self._centre_writers:
            made -= made.mean(-1, keepdim=True)
        for normed, along in zip(layer.normed, layer.along):
            for x, share in zip(normed, along):
                made.addcmul_(x[None, tokens], share[tokens].T[..., None], value=-1)
        return made


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
