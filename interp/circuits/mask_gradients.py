"""The mask runner with masks of any number between 0 and 1, and gradients through them, for learned masks.

Every reader reads x_all_ablated + sum over u of m[u, v] D_u, with D_u what writer u writes in this pass minus what
stands in for it. All D_u of a pass lie in one buffer, and so do their gradients: autograd would keep a copy of
everything written so far for every layer (Bhaskar et al. 2024, "Finding Transformer Circuits with Edge Pruning", call
it the cost of disentangling the stream). A reader's sum hands its gradient to the buffer, and a writer takes it from
there; tokens that every sum receives from the writers before it make autograd wait until all readers are done.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from interp.circuits.graph import Graph
from interp.circuits.mask_base import MaskBase
from interp.circuits.projections import Projections, mlp_input
from interp.hooks.partial import hooked, run
from interp.hooks.sites import Site, hook_points, mlp_out, resid_post, resid_pre, z


class Outbox:
    """What every writer of a pass wrote, and the gradients of it: [circuit, writer, token * d_model]."""

    def __init__(self, n_circuits: int, n_writers: int, width: int, like: Tensor) -> None:
        self.values = like.new_empty(n_circuits, n_writers, width)
        self.gradients: Tensor | None = None

    def gradient(self) -> Tensor:
        """The buffer of gradients, made when the first reader has one."""
        if self.gradients is None:
            self.gradients = torch.zeros_like(self.values)
        return self.gradients


class _Post(torch.autograd.Function):
    """A writer puts what it wrote into the outbox; the token it returns stands for it."""

    @staticmethod
    def forward(ctx: Any, wrote: Float[Tensor, "circuit n width"], outbox: Outbox, first: int) -> Tensor:
        outbox.values[:, first : first + wrote.shape[1]] = wrote
        ctx.outbox, ctx.rows = outbox, slice(first, first + wrote.shape[1])
        return wrote.new_zeros(())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, token: Tensor) -> tuple[Any, ...]:
        return ctx.outbox.gradient()[:, ctx.rows], None, None


class _Collect(torch.autograd.Function):
    """Readers add up what the first `n` writers posted, each weighed by the mask."""

    @staticmethod
    def forward(ctx: Any, mask: Float[Tensor, "circuit n reader"], outbox: Outbox, *tokens: Tensor) -> Tensor:
        ctx.outbox, ctx.n_tokens = outbox, len(tokens)
        ctx.save_for_backward(mask)
        return torch.bmm(mask.mT, outbox.values[:, : mask.shape[1]])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Float[Tensor, "circuit reader width"]) -> tuple[Any, ...]:
        (mask,) = ctx.saved_tensors
        n = mask.shape[1]
        for posted, weights, arrived in zip(ctx.outbox.gradient(), mask, gradient):
            posted[:n].addmm_(weights, arrived)
        to_mask = torch.bmm(ctx.outbox.values[:, :n], gradient.mT)
        return to_mask, None, *(gradient.new_zeros(()) for _ in range(ctx.n_tokens))


def differentiable_readouts(
    model: Any,
    graph: Graph,
    own: tuple[Projections, ...],
    base: MaskBase,
    masks: Float[Tensor, "circuit writers readers"],
    roles: tuple[Tensor, ...] | None,
) -> Float[Tensor, "circuit batch read"]:
    """The readout under each mask, in the graph of `masks`. roles: tokens of each role, None over all positions."""
    flat = graph.with_positions(None)
    existing = masks * graph.exists.to(masks.device)
    if roles is not None:
        blocks = existing.view(len(masks), len(flat.writers), graph.places, len(flat.readers), graph.places)
        existing = blocks.diagonal(dim1=2, dim2=4)
    return _MaskedPass(model, flat, own, base, existing, roles).run()


class _MaskedPass:
    """One pass in which every reader reads a weighted sum."""

    def __init__(
        self,
        model: Any,
        graph: Graph,
        own: tuple[Projections, ...],
        base: MaskBase,
        masks: Tensor,
        roles: tuple[Tensor, ...] | None,
    ) -> None:
        self.model, self.graph, self.own, self.base, self.roles = model, graph, own, base, roles
        self.masks = masks.to(base.own.embed.dtype)
        self.n_circuits, self.d_model = len(masks), base.own.embed.shape[-1]
        width = base.n_tokens * self.d_model
        self.outbox = Outbox(self.n_circuits, len(graph.writers), width, base.own.embed)
        self.tokens: list[Tensor] = []
        self.heads: dict[str, Tensor] = {}
        self.mixed: Tensor | None = None

    def run(self) -> Float[Tensor, "circuit batch read"]:
        base = self.base
        self._post((base.own.embed - base.ablated.embed).flatten()[None, None].expand(self.n_circuits, -1, -1), 0)
        stream = base.streams.pre[0].repeat(self.n_circuits, 1, 1)
        points = hook_points(self.model)
        with contextlib.ExitStack() as stack:
            for layer in range(self.graph.n_layers):
                for name, function in self._hooks(layer).items():
                    stack.enter_context(hooked(points[name], function))
            last = points[resid_post(self.graph.n_layers - 1).hook]
            stack.enter_context(hooked(last, self._read_logits))
            logits = run(self.model, stream, past=base.past, readout=base.metric.readout)
        return logits.view(self.n_circuits, len(base.tokens), -1)

    def _hooks(self, layer: int) -> dict[str, Callable[[Tensor], Tensor | None]]:
        hooks: dict[str, Callable[[Tensor], Tensor | None]] = {
            resid_pre(layer).hook: partial(self._enter, layer),
            z(layer).hook: partial(self._wrote_heads, layer),
        }
        for letter in "qkv":
            hooks[Site(letter, layer).hook] = partial(self._made, letter)
        if self.own[layer].after.divides:
            hooks[f"blocks.{layer}.ln1_post.hook_in"] = partial(self._scaled_heads, layer)
        if self.graph.has_mlp:
            name, behind_norm = mlp_input(self.model)
            hooks[f"blocks.{layer}.{name}"] = partial(self._read_mlp, layer, behind_norm)
            hooks[mlp_out(layer).hook] = partial(self._wrote_mlp, layer)
        return hooks

    # ---- readers ---------------------------------------------------------------------------------------------------

    def _collect(
        self, layer: int, letter: str, columns: slice, stream: Float[Tensor, "batch pos d_model"], now: Tensor
    ) -> Float[Tensor, "circuit reader token d_model"]:
        """The streams of some readers. now: the run's own stream, which tokens of no role read."""
        n = len(self.graph.writers) if letter == "logits" else self.graph.n_writers_before(layer, letter)
        shape = (self.n_circuits, columns.stop - columns.start, self.base.n_tokens, self.d_model)
        if self.roles is None:
            sums = _Collect.apply(self.masks[:, :n, columns], self.outbox, *self.tokens).view(shape)
            return sums + stream.flatten(0, 1)
        # x_now - sum of (1 - m) D at the tokens of each role, x_now elsewhere.
        at_now = now.reshape(self.n_circuits, 1, self.base.n_tokens, self.d_model).expand(shape)
        parts = []
        for role, tokens in enumerate(self.roles):
            sums = _Collect.apply(self.masks[:, :n, columns, role], self.outbox, *self.tokens).view(shape)
            parts.append(sums[:, :, tokens] + stream.flatten(0, 1)[tokens])
        return at_now.index_copy(2, torch.cat(self.roles), torch.cat(parts, dim=2))

    def _enter(self, layer: int, value: Tensor) -> Tensor:
        first = self.graph.reader_slice(layer, "q").start
        columns = slice(first, self.graph.reader_slice(layer, "v").stop)
        self.stream = value
        streams = self._collect(layer, "q", columns, self.base.ablated_streams.pre[layer], value)
        readers = torch.arange(columns.stop - first).repeat(self.n_circuits)
        made = self.own[layer].project(streams.flatten(0, 1), readers)
        made = made.unflatten(0, (self.n_circuits, -1)).movedim(1, 2)  # [circuit, token, reader, d_head]
        sizes = [self.graph.n_heads, self.graph.n_key_value_heads, self.graph.n_key_value_heads]
        self.heads = dict(zip("qkv", made.split(sizes, dim=2), strict=True))
        # Over all positions nobody reads the run's own stream, so nothing has to flow back through it.
        return value.detach() if self.roles is None else value

    def _made(self, letter: str, value: Tensor) -> Tensor:
        return self.heads.pop(letter).reshape(value.shape)

    def _read_mlp(self, layer: int, behind_norm: bool, value: Tensor) -> Tensor:
        columns = self.graph.reader_slice(layer, "m")
        streams = self.base.ablated_streams
        ablated = (streams.mid if streams.mid else streams.pre)[layer]
        now = self.stream if behind_norm else value
        read = self._collect(layer, "m", columns, ablated, now).reshape(now.shape)
        return self.model.blocks[layer].ln1.forward(read) if behind_norm else read

    def _read_logits(self, value: Tensor) -> Tensor:
        last = self.graph.n_layers
        columns = self.graph.reader_slice(last, "logits")
        return self._collect(last, "logits", columns, self.base.ablated_streams.pre[-1], value).reshape(value.shape)

    # ---- writers ---------------------------------------------------------------------------------------------------

    def _post(self, wrote: Float[Tensor, "circuit n width"], first: int) -> None:
        self.tokens.append(_Post.apply(wrote, self.outbox, first))

    def _wrote_heads(self, layer: int, value: Tensor) -> None:
        if not self.own[layer].after.divides:
            self._post_heads(layer, value)
        else:
            self.mixed = value

    def _scaled_heads(self, layer: int, value: Tensor) -> None:
        assert self.mixed is not None
        self._post_heads(layer, self.mixed * self.own[layer].written_scale(value)[..., None])
        self.mixed = None

    def _post_heads(self, layer: int, value: Float[Tensor, "row pos head d_head"]) -> None:
        runs = value.reshape(self.n_circuits, -1, *value.shape[2:])
        change = runs - self.base.ablated.z[layer].flatten(0, 1)
        wrote = torch.einsum("cthe,hed->chtd", change, self.own[layer].write)
        self._post(wrote.flatten(2), self.graph.writer_slice(layer).start)

    def _wrote_mlp(self, layer: int, value: Float[Tensor, "row pos d_model"]) -> None:
        change = value.reshape(self.n_circuits, -1) - self.base.ablated.mlp[layer].flatten()
        self._post(change[:, None], self.graph.writer_slice(layer, "m").start)
