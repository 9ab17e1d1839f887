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
from interp.circuits.mask_base import MaskBase, written
from interp.circuits.mask_plans import ABLATED, KEPT, LEAVE, REMOVED, Plan, Plane
from interp.circuits.projections import Projections, mlp_input
from interp.hooks.partial import hooked, run
from interp.hooks.sites import Site, hook_points, mlp_out, resid_post, resid_pre, z

Write = tuple[int, Tensor | None, Tensor, Float[Tensor, "head token d_head"]]


class FoldedPass:
    """The state of one pass: what the writers that a sum needs have written so far, less what stands in for them."""

    def __init__(self, model: Any, graph: Graph, own: tuple[Projections, ...], base: MaskBase, plan: Plan) -> None:
        assert plan.start is not None
        self.model, self.graph, self.own, self.base, self.plan = model, graph.with_positions(None), own, base, plan
        self.n_circuits = len(plan.planes[0].how)
        # The logits alone are reached through the last block: the bridge has no entrance behind it.
        self.start = min(plan.start, graph.n_layers - 1)
        self.changes = [[self._room(plane, used) for used in plane.used] for plane in plan.planes]
        self.reads: dict[str, list[Write]] = {}
        self.mixed: Tensor | None = None
        self._fill_before_start()

    def run(self) -> Float[Tensor, "circuit batch read"]:
        """The readout of every circuit."""
        stream = self.base.streams.pre[self.start].repeat(self.n_circuits, 1, 1)
        with contextlib.ExitStack() as stack:
            for layer in range(self.start, self.graph.n_layers):
                for name, function in self._hooks(layer).items():
                    stack.enter_context(hooked(hook_points(self.model)[name], function))
            last = resid_post(self.graph.n_layers - 1).hook
            if self._touched(self.graph.n_layers, "logits"):
                stack.enter_context(hooked(hook_points(self.model)[last], self._read_logits))
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
        if self._records(layer, "a"):
            hooks[z(layer).hook] = partial(self._wrote_heads, layer)
            if self.own[layer].after.divides:
                hooks[f"blocks.{layer}.ln1_post.hook_in"] = partial(self._scaled_heads, layer)
        if self.graph.has_mlp and self._touched(layer, "m"):
            name, behind_norm = mlp_input(self.model)
            hooks[f"blocks.{layer}.{name}"] = partial(self._read_mlp, layer, behind_norm)
            if behind_norm:
                hooks.setdefault(resid_pre(layer).hook, partial(self._enter, layer))
        if self.graph.has_mlp and self._records(layer, "m"):
            hooks[mlp_out(layer).hook] = partial(self._wrote_mlp, layer)
        return hooks

    def _touched(self, layer: int, letter: str) -> bool:
        columns = self.graph.reader_slice(layer, letter)
        return any(bool((plane.how[:, columns] != LEAVE).any()) for plane in self.plan.planes)

    def _records(self, layer: int, letter: str) -> bool:
        return any(len(self._slots(used, layer, letter)[0]) > 0 for plane in self.plan.planes for used in plane.used)

    # ---- readers ---------------------------------------------------------------------------------------------------

    def _enter(self, layer: int, value: Float[Tensor, "row pos d_model"]) -> None:
        """A block begins: work out the queries, keys and values of the heads that read a stream of their own."""
        self.stream = value
        first = self.graph.reader_slice(layer, "q").start
        columns = torch.arange(first, self.graph.reader_slice(layer, "v").stop)
        found: list[tuple[int, Plane, Tensor]] = []
        inputs = []
        for plane, changes in zip(self.plan.planes, self.changes):
            for circuit in range(self.n_circuits):
                for how in (KEPT, REMOVED):
                    readers = columns[plane.how[circuit, columns] == how]
                    if len(readers):
                        inputs.append(self._sums(circuit, plane, changes[circuit], readers, how, layer, "q"))
                        found.append((circuit, plane, readers - first))
        self.reads = {"q": [], "k": [], "v": []}
        self._ablated_heads(layer, columns)
        # Planes may cover different numbers of tokens, so each is projected by itself.
        for plane in self.plan.planes:
            mine = [i for i, (_, where, _) in enumerate(found) if where is plane]
            if not mine:
                continue
            readers = torch.cat([found[i][2] for i in mine])
            made = self.own[layer].project(torch.cat([inputs[i] for i in mine]), readers)
            for i, part in zip(mine, made.split([len(found[i][2]) for i in mine])):
                self._keep(found[i][0], plane.tokens, found[i][2], part)

    def _ablated_heads(self, layer: int, columns: Tensor) -> None:
        """Heads all of whose edges are ablated read the same in every circuit."""
        for plane in self.plan.planes:
            here = plane.how[:, columns] == ABLATED
            readers = here.any(0).nonzero()[:, 0]
            if not len(readers):
                continue
            stream = _at(self.base.ablated_streams.pre[layer].flatten(0, 1), plane.tokens)
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
        new = self._corrected(self.stream, layer, "m", ablated)
        return self.model.blocks[layer].ln1.forward(new)

    def _read_logits(self, value: Tensor) -> Tensor:
        return self._corrected(value, self.graph.n_layers, "logits", self.base.ablated_streams.pre[-1])

    def _corrected(self, value: Tensor, layer: int, letter: str, ablated: Tensor) -> Float[Tensor, "row pos d_model"]:
        """The stream that a layer's MLP or the logits read in every circuit."""
        self.stream = value
        new = value.clone(memory_format=torch.contiguous_format)
        runs = new.view(self.n_circuits, -1, value.shape[-1])
        column = torch.tensor([self.graph.reader_slice(layer, letter).start])
        for plane, changes in zip(self.plan.planes, self.changes):
            tokens = slice(None) if plane.tokens is None else plane.tokens
            for circuit, how in enumerate(plane.how[:, column[0]].tolist()):
                if how == ABLATED:
                    runs[circuit, tokens] = _at(ablated.flatten(0, 1), plane.tokens)
                elif how != LEAVE:
                    sums = self._sums(circuit, plane, changes[circuit], column, how, layer, letter, ablated)
                    runs[circuit, tokens] = sums[0]
        return new

    def _sums(
        self,
        circuit: int,
        plane: Plane,
        change: Float[Tensor, "used token d_model"],
        readers: Tensor,
        how: int,
        layer: int,
        letter: str,
        ablated: Tensor | None = None,
    ) -> Float[Tensor, "reader token d_model"]:
        """The streams that some readers of one circuit read."""
        used = plane.used[circuit]
        before = self._n_before(used, layer, letter)
        factors = plane.coefficients[circuit][readers, :before]
        sums = (factors @ change[:before].flatten(1)).view(len(readers), *change.shape[1:])
        if how == KEPT:
            stream = self.base.ablated_streams.pre[layer] if ablated is None else ablated
            return sums.add_(_at(stream.flatten(0, 1), plane.tokens))
        now = self.stream.reshape(self.n_circuits, -1, self.stream.shape[-1])[circuit]
        return sums.add_(_at(now, plane.tokens))

    # ---- writers ---------------------------------------------------------------------------------------------------

    def _room(self, plane: Plane, used: Tensor) -> Float[Tensor, "used token d_model"]:
        n_tokens = self.base.n_tokens if plane.tokens is None else len(plane.tokens)
        return self.base.own.embed.new_empty(len(used), n_tokens, self.base.own.embed.shape[-1])

    def _n_before(self, used: Tensor, layer: int, letter: str) -> int:
        """How many of the used writers the reader comes after."""
        if letter == "logits":
            return len(used)
        return int((used < self.graph.n_writers_before(layer, letter)).sum())

    def _slots(self, used: Tensor, layer: int, letter: str) -> tuple[Tensor, slice]:
        """A block's heads (or MLP) among the used writers: which of them, and their places."""
        rows = self.graph.writer_slice(layer, letter)
        first, last = int((used < rows.start).sum()), int((used < rows.stop).sum())
        return used[first:last] - rows.start, slice(first, last)

    def _fill_before_start(self) -> None:
        """Writers of the blocks that are not run have written what the run itself did."""
        base = self.base
        embed = (base.own.embed - base.ablated.embed).flatten(0, 1)
        for plane, changes in zip(self.plan.planes, self.changes):
            for used, change in zip(plane.used, changes):
                if len(used) and used[0] == 0:
                    change[0] = _at(embed, plane.tokens)
                for layer in range(self.start):
                    heads, slots = self._slots(used, layer, "a")
                    if len(heads):
                        mixed = (base.own.z[layer] - base.ablated.z[layer]).flatten(0, 1)
                        change[slots] = written(_at(mixed, plane.tokens), heads, self.own[layer])
                    if self.graph.has_mlp and len(self._slots(used, layer, "m")[0]):
                        wrote = (base.own.mlp[layer] - base.ablated.mlp[layer]).flatten(0, 1)
                        change[self._slots(used, layer, "m")[1]] = _at(wrote, plane.tokens)

    def _wrote_heads(self, layer: int, value: Float[Tensor, "row pos head d_head"]) -> None:
        if not self.own[layer].after.divides:
            self._record_heads(layer, value)
        else:
            self.mixed = value

    def _scaled_heads(self, layer: int, value: Float[Tensor, "row pos d_model"]) -> None:
        """Attention's output before the norm behind it, whose scale the heads share."""
        assert self.mixed is not None
        self._record_heads(layer, self.mixed * self.own[layer].written_scale(value)[..., None])
        self.mixed = None

    def _record_heads(self, layer: int, value: Float[Tensor, "row pos head d_head"]) -> None:
        runs = value.reshape(self.n_circuits, -1, *value.shape[2:])
        instead = self.base.ablated.z[layer].flatten(0, 1)
        for plane, changes in zip(self.plan.planes, self.changes):
            for circuit, used in enumerate(plane.used):
                heads, slots = self._slots(used, layer, "a")
                if len(heads):
                    mixed = _at(runs[circuit], plane.tokens) - _at(instead, plane.tokens)
                    changes[circuit][slots] = written(mixed, heads, self.own[layer])

    def _wrote_mlp(self, layer: int, value: Float[Tensor, "row pos d_model"]) -> None:
        runs = value.reshape(self.n_circuits, -1, value.shape[-1])
        instead = self.base.ablated.mlp[layer].flatten(0, 1)
        for plane, changes in zip(self.plan.planes, self.changes):
            for circuit, used in enumerate(plane.used):
                there, slots = self._slots(used, layer, "m")
                if len(there):
                    changes[circuit][slots.start] = _at(runs[circuit], plane.tokens) - _at(instead, plane.tokens)


def _at(value: Float[Tensor, "token *rest"], tokens: Tensor | None) -> Tensor:
    return value if tokens is None else value[tokens]
