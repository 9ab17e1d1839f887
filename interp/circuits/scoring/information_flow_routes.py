"""Information flow routes: how near what each writer writes is to what a reader reads.

Ferrando and Voita 2024, "Information Flow Routes: Automatically Interpreting Language Models at Scale", section 2. A
stream x is a sum of what writers wrote, and the importance of z in it is its proximity, in the L1 norm, as a share:

    proximity(z, x) = max(‖x‖₁ - ‖x - z‖₁, 0)        importance(u -> v) = proximity(z_u, x_v) / Σ_w proximity(z_w, x_v)

Here x_v is the stream before a reader's norm, so that the queries, keys, values of all heads of a layer share their
writers' importances. They are averaged over the tokens up to where the metric is read, those of the logits over the
tokens at which it is read. One forward pass, without corrupt prompts and without a metric: what every prompt needs
(positions, punctuation) scores as high as the task. Shares of one reader say nothing across readers, so circuits are
picked greedily from the logits, as the paper extracts routes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.circuits.blocks import Block, blocks_of
from interp.circuits.graph import Graph
from interp.circuits.kept_tokens import KeptTokens, kept_tokens
from interp.circuits.memory import memory_plan
from interp.circuits.norms import wide
from interp.circuits.recording import Written, recording_written
from interp.circuits.scoring.batches import Scored, Settings
from interp.hooks import sites
from interp.hooks.capturing import capture
from interp.hooks.partial import embedding_device
from interp.hooks.sites import Site
from interp.tasks import PromptPairs

NEEDS_GRADIENTS = False
UNIT = "share of what the reader reads"
MEANING = "proximity of what the writer writes to what the reader reads, as a share, mean over tokens and prompts"


@dataclass(frozen=True, eq=False)
class _Tokens:
    """The tokens that are looked at: the row, position and place of each, and whether the metric is read there."""

    rows: Int[Tensor, " token"]
    at: Int[Tensor, " token"]
    places: Int[Tensor, " token"]
    is_read: Bool[Tensor, " token"]


def scores(model: Any, task: PromptPairs, graph: Graph, settings: Settings) -> Iterator[Scored]:
    """One forward pass a batch, of the clean prompts (at="clean") or the corrupt ones."""
    plan = memory_plan(model, task, graph, batch_size=settings.batch_size, memory_budget=settings.memory_budget)
    blocks = blocks_of(model)
    for start in range(0, len(task), plan.prompts):
        part = task[start : start + plan.prompts]
        yield Scored(_of_batch(model, part, graph, blocks, settings.at, plan.tile_tokens))


@torch.no_grad()
def _of_batch(
    model: Any, task: PromptPairs, graph: Graph, blocks: list[Block], at: str, tile: int
) -> Float[Tensor, "example writers readers"]:
    prompts, metric = (task.clean, task.metric) if at == "clean" else (task.corrupt, task.corrupt_metric)
    tokens = _tokens(task, graph, at, metric.readout.positions.cpu())
    plain = prompts.as_subclass(Tensor)[:, : int(tokens.at.max()) + 1].to(embedding_device(model))
    streams = dict.fromkeys(site for block in blocks for site in _streams(block))
    last = sites.resid_post(len(blocks) - 1)
    with recording_written(model, blocks, (tokens.rows, tokens.at)) as written:
        seen = capture(model, plain, [*streams, last])
    kept = {
        site: wide(seen[site][tokens.rows.to(plain.device), tokens.at.to(plain.device)]) for site in [*streams, last]
    }
    routes = _Routes(graph, blocks, len(task), tokens)
    for begin in range(0, len(tokens.rows), tile):
        some = slice(begin, begin + tile)
        routes.add(written().rows(some), {site: value[some] for site, value in kept.items()}, some)
    return routes.means()


def _streams(block: Block) -> list[Site]:
    return [sites.resid_pre(block.layer), *([block.mlp_stream] if block.has_mlp else [])]


def _tokens(task: PromptPairs, graph: Graph, at: str, read: Int[Tensor, "batch read"]) -> _Tokens:
    if graph.positions is not None:
        kept: KeptTokens = kept_tokens(task, graph, at)
        places = torch.tensor([segment.place for segment in kept.segments])
        rows, where = kept.rows, kept.own.at
    else:
        ends = read.max(1).values + 1
        rows = torch.arange(len(ends)).repeat_interleave(ends)
        where = torch.cat([torch.arange(int(end)) for end in ends])
        places = torch.zeros_like(rows)
    return _Tokens(rows, where, places, (read[rows] == where[:, None]).any(1))


class _Routes:
    """Importances, summed over the tokens of every prompt and place."""

    def __init__(self, graph: Graph, blocks: list[Block], n_examples: int, tokens: _Tokens) -> None:
        self.graph, self.flat, self.blocks, self.tokens = graph, graph.with_positions(None), blocks, tokens
        self.n_examples = n_examples
        shape = (n_examples * graph.places, len(self.flat.writers), len(self.flat.readers))
        self.sums = torch.zeros(shape)
        self.groups = tokens.rows * graph.places + tokens.places
        # Over named positions every token is a node of its own; else the logits are where the metric reads them.
        everywhere = torch.ones(len(tokens.rows)) if graph.positions else tokens.is_read.float()
        self.weights = {False: torch.ones(len(tokens.rows)), True: everywhere}

    def add(self, wrote: Written, streams: dict[Site, Tensor], some: slice) -> None:
        """Take some tokens."""
        flat, last = self.flat, self.flat.n_layers
        written = wrote.embed.new_empty(len(flat.writers), *wrote.embed.shape)
        written[0] = wrote.embed
        for block in self.blocks:
            layer = block.layer
            columns = slice(flat.reader_slice(layer, "q").start, flat.reader_slice(layer, "v").stop)
            self._add(written[: flat.n_writers_before(layer, "q")], streams[sites.resid_pre(layer)], columns, some)
            written[flat.writer_slice(layer)] = torch.bmm(wrote.z[layer].transpose(0, 1), block.out_matrix)
            if block.has_mlp:
                before = written[: flat.n_writers_before(layer, "m")]
                self._add(before, streams[block.mlp_stream], flat.reader_slice(layer, "m"), some)
                written[flat.writer_slice(layer, "m")] = wrote.mlp[layer]
        self._add(written, streams[sites.resid_post(last - 1)], flat.reader_slice(last, "logits"), some, logits=True)

    def _add(
        self,
        written: Float[Tensor, "writer token d"],
        stream: Tensor,
        columns: slice,
        some: slice,
        logits: bool = False,
    ) -> None:
        shares = importance(written, stream).T.cpu() * self.weights[logits][some, None]
        sums = torch.zeros(len(self.sums), len(written)).index_add(0, self.groups[some], shares.float())
        self.sums[:, : len(written), columns] += sums[:, :, None]

    def means(self) -> Float[Tensor, "example writers readers"]:
        """Per prompt, in the shape of the graph."""
        counts = {
            logits: torch.zeros(len(self.sums)).index_add(0, self.groups, weights).clamp(min=1)[:, None, None]
            for logits, weights in self.weights.items()
        }
        last = self.flat.reader_slice(self.flat.n_layers, "logits").start
        self.sums[:, :, :last] /= counts[False]
        self.sums[:, :, last:] /= counts[True]
        places = self.graph.places
        shape = (self.n_examples, self.sums.shape[1], places, self.sums.shape[2], places)
        found = torch.zeros(shape)
        found.diagonal(dim1=2, dim2=4).copy_(self.sums.unflatten(0, (-1, places)).permute(0, 2, 3, 1))
        return found.flatten(3, 4).flatten(1, 2)


def importance(
    written: Float[Tensor, "writer token d_model"], stream: Float[Tensor, "token d_model"]
) -> Float[Tensor, "writer token"]:
    """Each writer's share of a stream, by L1 proximity; all 0 where nothing is near."""
    whole = stream.abs().sum(-1)
    proximity = (whole - (written - stream).abs().sum(-1)).clamp(min=0)
    return proximity / proximity.sum(0).clamp(min=torch.finfo(proximity.dtype).tiny)
