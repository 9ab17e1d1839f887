"""Edge attribution patching in which new queries and keys go through the softmax exactly (QK-fix).

Kramár et al. 2024, "AtP*: An efficient and scalable method for localizing LLM behaviour to components", section 3.1,
carried over from nodes to edges. A linear estimate gives edges into saturated attention nothing. For an edge u -> q of
a head, the queries are made of the stream with u changed (norm included), the model's own attention makes a pattern of
them (rotary embeddings, soft caps, windows and shared keys included), and only what follows is linear:

    score(u -> q)  ≈  Σ_queries,keys (pattern - pattern with the edge changed) · ∂m/∂pattern

and likewise for keys. Edges into values, MLPs and logits are scored as by EAP. Every writer costs two passes through
one layer's attention.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interp.circuits.graph import Graph
from interp.circuits.memory import MemoryPlan, bytes_of_a_writer, memory_plan
from interp.circuits.recording import PatternGradients, Written, record_reading, recording_written
from interp.circuits.scoring.batches import Batch, Scored, Settings, batches
from interp.errors import InputError
from interp.hooks.capturing import Activations, capture
from interp.hooks.partial import StopForward, hooked, run
from interp.hooks.sites import Site, hook_point, pattern, resid_pre
from interp.tasks import PromptPairs

MOST_BYTES = 2**28
"""Of the passes with changed writers, beyond the first of each: more make no matrix product faster."""


def plan(model: Any, task: PromptPairs, graph: Graph, settings: Settings) -> MemoryPlan:
    """What is run at a time, and the memory it takes."""
    return memory_plan(
        model, task, graph, patterns=True, batch_size=settings.batch_size, memory_budget=settings.memory_budget
    )


def scores(model: Any, task: PromptPairs, graph: Graph, settings: Settings) -> Iterator[Scored]:
    """EAP's passes, and for each layer two of its attention with every earlier writer changed."""
    for batch in batches(model, task, graph, settings, plan(model, task, graph, settings)):
        yield _of_batch(batch, settings.memory_budget)


def _of_batch(batch: Batch, memory_budget: int) -> Scored:
    other, other_metric = batch.other_written()
    side, reading = batch.kept.own, batch.empty_reading()
    tokens = batch.tokens(side)
    patterns: PatternGradients = {}
    with recording_written(batch.model, batch.blocks, batch.own_tokens) as written:
        metric = record_reading(
            batch.model, batch.blocks, tokens, batch.own_tokens, side.metric, reading, patterns=patterns
        )
    if len(patterns) < len(batch.blocks):
        raise InputError("this model's attention patterns are out of reach of gradients; use method='eap' or 'eap-ig'")
    own = written()
    total = batch.contract(batch.difference(own, other), reading)
    streams = capture(batch.model, tokens, [resid_pre(block.layer) for block in batch.blocks])
    _Fix(batch, own.minus(other, 1.0), streams, patterns, memory_budget).correct(total)
    return Scored(total, metric[0], other_metric)


class _Fix:
    """Puts corrected scores of edges into queries and keys in place of the linear ones."""

    def __init__(
        self, batch: Batch, change: Written, streams: Activations, patterns: PatternGradients, memory_budget: int
    ) -> None:
        self.batch, self.change, self.streams, self.patterns = batch, change, streams, patterns
        self.graph = batch.graph.with_positions(None)
        self.places = batch.graph.places
        of_a_writer = bytes_of_a_writer(batch.model, *batch.kept.own.tokens.shape)
        # The plan has room for one.
        self.writers_a_pass = 1 + min(memory_budget - batch.plan.bytes, MOST_BYTES) // of_a_writer

    @torch.no_grad()
    def correct(self, total: Float[Tensor, "example writers readers"]) -> None:
        """Replace the scores of every edge into queries and keys."""
        n_places = self.places
        shaped = total.unflatten(1, (-1, n_places)).unflatten(3, (-1, n_places))
        for place in range(n_places):
            # Tokens of the other roles stay as they are.
            here = torch.zeros(len(self.batch.kept), 1, device=self.change.embed.device)
            for segment in self.batch.kept.segments:
                if segment.place == place:
                    here[segment.start : segment.stop] = 1.0
            for block in self.batch.blocks:
                for letter in "qk":
                    columns = self.graph.reader_slice(block.layer, letter)
                    seen = self.graph.n_writers_before(block.layer, letter)
                    for rows in torch.arange(seen).split(self.writers_a_pass):
                        found = self._effects(block.layer, letter, rows, here)
                        shaped[:, rows[0] : rows[-1] + 1, place, columns, place] = found.to(total)

    def _effects(
        self, layer: int, letter: str, rows: Tensor, here: Float[Tensor, "token 1"]
    ) -> Float[Tensor, "example writer reader"]:
        """-sign · Σ (pattern with the edge changed - pattern) · gradient."""
        batch, block = self.batch, self.batch.blocks[layer]
        at = batch.own_tokens
        stream = self.streams[resid_pre(layer)]
        changed = stream[at][None] - torch.stack([self._written(int(row)) * here for row in rows])
        values = block.read(letter, changed)
        before, gradient = self.patterns[layer]
        after = self._pattern(Site(letter, layer), stream, values)
        product = (after.unflatten(0, (len(rows), -1)) - before) * gradient
        effects = -batch.kept.sign * product.sum((-1, -2)).transpose(0, 1)  # [example, writer, query head]
        n_readers = values.shape[-2]
        return effects.unflatten(-1, (n_readers, -1)).sum(-1)

    def _written(self, row: int) -> Float[Tensor, "token d_model"]:
        """What the writer of a row wrote in one run less the other."""
        if row == 0:
            return self.change.embed
        layer = int(self.graph.writer_layer[row])
        head = row - self.graph.writer_slice(layer).start
        if head == self.graph.n_heads:
            return self.change.mlp[layer]
        return self.change.z[layer][:, head] @ self.batch.blocks[layer].out_matrix[head]

    def _pattern(
        self, site: Site, stream: Float[Tensor, "batch pos d"], values: Float[Tensor, "writer token reader d_head"]
    ) -> Float[Tensor, "writer_batch head query key"]:
        """The patterns of a layer's attention with new queries or keys at the kept tokens, for each writer."""
        model, layer, at = self.batch.model, site.layer or 0, self.batch.own_tokens

        def write(value: Tensor) -> Tensor:
            runs = value.clone().unflatten(0, (len(values), -1))
            runs[:, at[0], at[1]] = values.to(value)
            return runs.flatten(0, 1)

        def keep(value: Tensor) -> None:
            raise StopForward(value.clone())  # what the run returns

        with contextlib.ExitStack() as stack:
            stack.enter_context(hooked(hook_point(model, site), write))
            stack.enter_context(hooked(hook_point(model, pattern(layer)), keep))
            return run(model, stream.repeat(len(values), 1, 1), start=layer, stop=layer + 1)
