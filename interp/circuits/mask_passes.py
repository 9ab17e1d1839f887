"""One forward pass for several circuits: every reader's stream corrected from what was written in the same pass.

Circuits are folded into the batch (circuit-major). The pass starts at the first block in which a reader is corrected,
covers the positions from the first that can differ to the last that is read, and unembeds only what the metric reads.
The slow twin in the tests sets one reader's input at a time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interp.circuits.graph import Graph
from interp.circuits.mask_base import MaskBase
from interp.circuits.mask_plans import ABLATED, KEPT, LEAVE, REMOVED, Plan, Plane
from interp.circuits.mask_sums import CircuitSums
from interp.circuits.projections import Projections, mlp_input
from interp.hooks.partial import hooked, run
from interp.hooks.sites import Site, hook_points, mlp_out, resid_post, resid_pre, z

Write = tuple[int, Tensor | None, Tensor, Float[Tensor, "head token d_head"]]


class FoldedPass:
    """The state of one pass: the sums of every circuit, at each set of tokens."""

    def __init__(self, model: Any, graph: Graph, own: tuple[Projections, ...], base: MaskBase, plan: Plan) -> None:
        assert plan.start is not None
        self.model, self.graph, self.own, self.base = model, graph.with_positions(None), own, base
        self.planes = plan.planes
        self.n_circuits = len(plan.planes[0].how)
        # The logits alone are reached through the last block: the bridge has no entrance behind it.
        self.start = min(plan.start, graph.n_layers - 1)
        self.sums = [
            [CircuitSums(self.graph, plane, i, base.n_tokens, base.own.embed) for i in range(self.n_circuits)]
            for plane in plan.planes
        ]
        self.reads: dict[str, list[Write]] = {}
        self.mixed: Tensor | None = None
        self._note_before_start()

    def run(self) -> Float[Tensor, "circuit batch read"]:
        """The readout of every circuit."""
        stream = self.base.streams.pre[self.start].repeat(self.n_circuits, 1, 1)
        points = hook_points(self.model)
        with contextlib.ExitStack() as stack:
            for layer in range(self.start, self.graph.n_layers):
                for name, function in self._hooks(layer).items():
                    stack.enter_context(hooked(points[name], function))
            if self._touched(self.graph.n_layers, "logits"):
                last = resid_post(self.graph.n_layers - 1).hook
                stack.enter_context(hooked(points[last], self._read_logits))
            logits = run(self.model, stream, start=self.start, past=self.base.past, readout=self.base.metric.readout)
        return logits.view(self.n_circuits, len(self.base.tokens), -1)

    # ---- what is hooked --------------------------------------------------------------------------------------------

    def _hooks(self, layer: int) -> dict[str, Callable[[Tensor], Tensor | None]]:
        """The hooks of a block, in the order in which they fire; only what some circuit needs."""
        hooks: dict[str, Callable[[Tensor], Tensor | None]] = {}
        letters = [letter for letter in "qkv" if self._touched(layer, letter)]
        if letters:
            hooks[resid_pre(layer).hook] = partial(self._enter, layer)
        for letter in letters:
            hooks[Site(letter, layer).hook] = partial(self._write_heads, letter)
        if self._needed(layer, "a"):
            hooks[z(layer).hook] = partial(self._wrote_heads, layer)
            if self.own[layer].after.divides:
                hooks[f"blocks.{layer}.ln1_post.hook_in"] = partial(self._scaled_heads, layer)
        if self.graph.has_mlp and self._touched(layer, "m"):
            name, behind_norm = mlp_input(self.model)
            hooks[f"blocks.{layer}.{name}"] = partial(self._read_mlp, layer, behind_norm)
            if behind_norm:
                hooks.setdefault(resid_pre(layer).hook, partial(self._enter, layer))
        if self.graph.has_mlp and self._needed(layer, "m"):
            hooks[mlp_out(layer).hook] = partial(self._wrote_mlp, layer)
        return hooks

    def _touched(self, layer: int, letter: str) -> bool:
        columns = self.graph.reader_slice(layer, letter)
        return any(bool((plane.how[:, columns] != LEAVE).any()) for plane in self.planes)

    def _needed(self, layer: int, letter: str) -> bool:
        return any(sums.needs(layer, letter) for plane in self.sums for sums in plane)

    # ---- readers ---------------------------------------------------------------------------------------------------

    def _enter(self, layer: int, value: Float[Tensor, "row pos d_model"]) -> None:
        """A block begins: work out the queries, keys and values of the heads that read a stream of their own."""
        self.stream = value
        self.reads = {"q": [], "k": [], "v": []}
        first = self.graph.reader_slice(layer, "q").start
        columns = torch.arange(first, self.graph.reader_slice(layer, "v").stop)
        ablated = self.base.ablated_streams.pre[layer].flatten(0, 1)
        now = value.reshape(self.n_circuits, -1, value.shape[-1])
        for plane, circuits in zip(self.planes, self.sums):
            self._ablated_heads(layer, plane, columns, ablated)
            readers, streams = [], []
            for circuit, sums in enumerate(circuits):
                for how, stream in ((KEPT, ablated), (REMOVED, now[circuit])):
                    mine = columns[sums.how[columns] == how]
                    if len(mine):
                        readers.append((circuit, mine - first))
                        streams.append(sums.sums(mine, layer, "q").add_(sums.at(stream)))
            if readers:
                made = self.own[layer].project(torch.cat(streams), torch.cat([mine for _, mine in readers]))
                for (circuit, mine), part in zip(readers, made.split([len(mine) for _, mine in readers])):
                    self._keep(circuit, plane.tokens, mine, part)

    def _ablated_heads(self, layer: int, plane: Plane, columns: Tensor, ablated: Tensor) -> None:
        """Heads all of whose edges are ablated read the same in every circuit."""
        here = plane.how[:, columns] == ABLATED
        readers = here.any(0).nonzero()[:, 0]
        if not len(readers):
            return
        stream = ablated if plane.tokens is None else ablated[plane.tokens]
        made = self.own[layer].project(stream.expand(len(readers), -1, -1), readers)
        for circuit in range(self.n_circuits):
            mine = here[circuit, readers]
            if bool(mine.any()):
                self._keep(circuit, plane.tokens, readers[mine], made[mine])

    def _keep(self, circuit: int, tokens: Tensor | None, readers: Tensor, made: Tensor) -> None:
        """Sort what heads make of their streams by letter; readers count a layer's q, then k, then v."""
        first = 0
        for letter in "qkv":
            size = self.graph.n_heads if letter == "q" else self.graph.n_key_value_heads
            mine = (readers >= first) & (readers < first + size)
            if bool(mine.any()):
                self.reads[letter].append((circuit, tokens, readers[mine] - first, made[mine]))
            first += size

    def _write_heads(self, letter: str, value: Float[Tensor, "row pos head d_head"]) -> Tensor:
        new = value.clone(memory_format=torch.contiguous_format)
        runs = new.view(self.n_circuits, -1, *value.shape[2:])
        for circuit, tokens, heads, made in self.reads.pop(letter):
            if tokens is None:
                runs[circuit][:, heads] = made.movedim(0, 1)
            else:
                runs[circuit][tokens[:, None], heads] = made.movedim(0, 1)
        return new

    def _read_mlp(self, layer: int, behind_norm: bool, value: Float[Tensor, "row pos d_model"]) -> Tensor:
        streams = self.base.ablated_streams
        ablated = (streams.mid if streams.mid else streams.pre)[layer]
        if not behind_norm:
            return self._corrected(value, layer, "m", ablated)
        return self.model.blocks[layer].ln1.forward(self._corrected(self.stream, layer, "m", ablated))

    def _read_logits(self, value: Tensor) -> Tensor:
        return self._corrected(value, self.graph.n_layers, "logits", self.base.ablated_streams.pre[-1])

    def _corrected(self, value: Tensor, layer: int, letter: str, ablated: Tensor) -> Float[Tensor, "row pos d_model"]:
        """The stream that a layer's MLP or the logits read in every circuit."""
        new = value.clone(memory_format=torch.contiguous_format)
        runs = new.view(self.n_circuits, -1, value.shape[-1])
        column = torch.tensor([self.graph.reader_slice(layer, letter).start])
        instead = ablated.flatten(0, 1)
        for circuits in self.sums:
            for run_, sums in zip(runs, circuits):
                how = int(sums.how[column])
                if how == LEAVE:
                    continue
                stream = sums.at(run_ if how == REMOVED else instead)
                if how != ABLATED:
                    stream = sums.sums(column, layer, letter)[0].add_(stream)
                run_[slice(None) if sums.tokens is None else sums.tokens] = stream
        return new

    # ---- writers ---------------------------------------------------------------------------------------------------

    def _note_before_start(self) -> None:
        """Writers of the blocks that are not run have written what the run itself did."""
        own, ablated = self.base.own, self.base.ablated
        for sums in (sums for circuits in self.sums for sums in circuits):
            sums.note(-1, "embed", (own.embed - ablated.embed).flatten(0, 1))
            for layer in range(self.start):
                if sums.needs(layer, "a"):
                    change = (own.z[layer] - ablated.z[layer]).flatten(0, 1)
                    sums.note_heads(layer, change, self.own[layer])
                if self.graph.has_mlp and sums.needs(layer, "m"):
                    sums.note(layer, "m", (own.mlp[layer] - ablated.mlp[layer]).flatten(0, 1))

    def _wrote_heads(self, layer: int, value: Float[Tensor, "row pos head d_head"]) -> None:
        if not self.own[layer].after.divides:
            self._note_heads(layer, value)
        else:
            self.mixed = value

    def _scaled_heads(self, layer: int, value: Float[Tensor, "row pos d_model"]) -> None:
        """Attention's output before the norm behind it, whose scale the heads share."""
        assert self.mixed is not None
        self._note_heads(layer, self.mixed * self.own[layer].written_scale(value)[..., None])
        self.mixed = None

    def _note_heads(self, layer: int, value: Float[Tensor, "row pos head d_head"]) -> None:
        changes = value.unflatten(0, (self.n_circuits, -1)) - self.base.ablated.z[layer]
        for circuits in self.sums:
            for change, sums in zip(changes.flatten(1, 2), circuits):
                sums.note_heads(layer, change, self.own[layer])

    def _wrote_mlp(self, layer: int, value: Float[Tensor, "row pos d_model"]) -> None:
        changes = value.unflatten(0, (self.n_circuits, -1)) - self.base.ablated.mlp[layer]
        for circuits in self.sums:
            for change, sums in zip(changes.flatten(1, 2), circuits):
                sums.note(layer, "m", change)
