"""What a run leaves behind for scoring edges: what writers wrote and what readers' gradients are, compactly.

No head ever has a d_model-sized copy of its own: of a head that writes, its mixed values z are kept, and of one that
reads, the gradient at its queries, keys or values. `edges` makes d_model-sized vectors of both, a tile of tokens at a
time. Only the kept tokens are recorded.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.circuits.blocks import Block
from interp.circuits.norms import wide
from interp.hooks import sites
from interp.hooks.capturing import capture
from interp.hooks.partial import hooked, run
from interp.hooks.sites import Site, hook_point, hook_points
from interp.tasks.metric import Metric

Where = tuple[Int[Tensor, " kept"], Int[Tensor, " kept"]]
"""Row and position of each kept token."""
PatternGradients = dict[int, tuple[Float[Tensor, "batch head query key"], Float[Tensor, "batch head query key"]]]
"""By layer, the attention pattern and the gradient at it."""


@dataclass(frozen=True, eq=False)
class Written:
    """What every writer wrote at the kept tokens of a run, or a difference of two runs.

    embed [token, d_model]; z: one a layer, [token, head, d_head], over the scale of a norm behind the attention where
    there is one; mlp: one a layer, [token, d_model], empty without MLPs.
    """

    embed: Float[Tensor, "token d_model"]
    z: tuple[Float[Tensor, "token head d_head"], ...]
    mlp: tuple[Float[Tensor, "token d_model"], ...]

    def minus(self, other: Written, sign: float) -> Written:
        """sign · (this - other)."""
        return Written(
            (self.embed - other.embed) * sign,
            tuple((mine - theirs) * sign for mine, theirs in zip(self.z, other.z)),
            tuple((mine - theirs) * sign for mine, theirs in zip(self.mlp, other.mlp)),
        )

    def rows(self, index: slice) -> Written:
        """Some of the tokens."""
        return Written(self.embed[index], tuple(z[index] for z in self.z), tuple(mlp[index] for mlp in self.mlp))


@dataclass(eq=False)
class LayerReading:
    """Gradients at what one layer reads, summed over the runs of an integral.

    heads [token, reader, d_head]: at all q, then k, then v, over the scale σ of the norm before them. along: one a
    run, [token, reader], and normed: one a run, [token, d_model]: the gradient's mean along x̂ and x̂ itself, which the
    norm takes out (empty where nothing normalises). mlp [token, d_model]: at the stream that the MLP reads.
    """

    heads: Float[Tensor, "token reader d_head"] | None = None
    along: list[Float[Tensor, "run token reader"]] = field(default_factory=list)
    normed: list[Float[Tensor, "run token d_model"]] = field(default_factory=list)
    mlp: Float[Tensor, "token d_model"] | None = None


@dataclass(eq=False)
class Reading:
    """Gradients at every reader; layers before `first` are not recorded. final [token, d_model]: at the last stream."""

    layers: list[LayerReading]
    final: Float[Tensor, "token d_model"] | None = None
    first: int = 0


@contextlib.contextmanager
def recording_written(model: Any, blocks: Sequence[Block], where: Where) -> Iterator[Callable[[], Written]]:
    """While open, runs of the model are recorded; the function that is given tells what the last one wrote."""
    found: dict[str, Tensor] = {}
    n_layers = len(blocks)

    with contextlib.ExitStack() as stack:
        for site in (sites.resid_pre(0), *_writing_sites(blocks)):
            stack.enter_context(_keeping(hook_point(model, site), found, site.hook, where))
        for block in blocks:
            if block.after_attention_hook is not None:
                point = hook_points(model)[block.after_attention_hook]
                stack.enter_context(_keeping(point, found, block.after_attention_hook, where))

        def written() -> Written:
            return Written(
                wide(found[sites.resid_pre(0).hook]),
                tuple(_scaled(block, found) for block in blocks),
                tuple(wide(found[sites.mlp_out(i).hook]) for i in range(n_layers)) if blocks[0].has_mlp else (),
            )

        yield written


def _writing_sites(blocks: Sequence[Block]) -> list[Site]:
    heads = [sites.z(block.layer) for block in blocks]
    return heads + [sites.mlp_out(block.layer) for block in blocks if block.has_mlp]


def _scaled(block: Block, found: dict[str, Tensor]) -> Float[Tensor, "token head d_head"]:
    z = wide(found[sites.z(block.layer).hook])
    if block.after_attention_hook is None:
        return z
    return z * block.after_attention.normalised(found[block.after_attention_hook])[1][..., None]


@contextlib.contextmanager
def _keeping(point: Any, found: dict[str, Tensor], name: str, where: Where) -> Iterator[None]:
    """Note the kept tokens of what passes a hook point."""

    def keep(value: Tensor) -> None:
        with torch.no_grad():
            found[name] = value.detach()[where[0].to(value.device), where[1].to(value.device)]

    with hooked(point, keep):
        yield


@torch.no_grad()
def record_written(
    model: Any, blocks: Sequence[Block], tokens: Tensor, where: Where, metric: Metric
) -> tuple[Written, Float[Tensor, " batch"]]:
    """One forward pass: what its writers wrote at the kept tokens, and the metric of every prompt."""
    with recording_written(model, blocks, where) as written:
        logits = run(model, tokens, readout=metric.readout)
    return written(), metric.score(logits)


def reading_sites(blocks: Sequence[Block], first: int = 0) -> list[Site]:
    """The sites at which gradients are taken, from block `first` on."""
    found: list[Site] = []
    for block in blocks[first:]:
        found += [Site(letter, block.layer) for letter in "qkv"]
        found += [sites.mlp_in(block.layer)] if block.has_mlp else []
    return [*found, sites.resid_post(len(blocks) - 1)]


def record_reading(
    model: Any,
    blocks: Sequence[Block],
    tokens: Int[Tensor, "run_batch pos"],
    where: Where,
    metric: Metric,
    into: Reading,
    *,
    n_runs: int = 1,
    weight: float = 1.0,
    patterns: PatternGradients | None = None,
) -> Float[Tensor, "runs batch"]:
    """A forward and a backward pass whose gradients, times `weight`, are added to `into`; the metric of every row.

    n_runs: how often the batch of prompts stands in `tokens` (run-major); metric: of one batch; patterns: also takes
    the attention patterns and the gradients at them.
    """
    wanted = reading_sites(blocks, into.first)
    wanted += [] if patterns is None else [sites.pattern(block.layer) for block in blocks[into.first :]]
    collector = _Collector(model, blocks, where, into, n_runs, weight, wanted, patterns)
    readout = metric.readout.repeat(n_runs)
    with collector.watching():
        seen = capture(model, tokens, wanted, readout=readout, gradients=True)
    collector.prepare(seen)
    assert seen.logits is not None
    scores = metric.score(seen.logits.unflatten(0, (n_runs, -1)))
    _backward([seen[site] for site in wanted], scores.sum(), collector.receive)
    return scores.detach()


def _backward(values: Sequence[Tensor], total: Tensor, receive: Callable[[int, Tensor], None]) -> None:
    """One backward pass: `receive(i, gradient)` for every value that the total depends on, the last one first."""

    def receiver(i: int) -> Callable[[Tensor], None]:
        return lambda gradient: receive(i, gradient.detach())

    handles = [value.register_hook(receiver(i)) for i, value in enumerate(values)]
    try:
        # Everything ends in the first values, which are leaves (unless the weights ask for gradients, which they do not
        # get); gradients at the others are only passed on.
        ends = [value for value in values if value.is_leaf] or list(values)
        torch.autograd.grad(total, ends, allow_unused=True)
    finally:
        for handle in handles:
            handle.remove()


class _Collector:
    """Takes the gradients of one backward pass, site by site, and keeps what scoring needs of them."""

    def __init__(
        self,
        model: Any,
        blocks: Sequence[Block],
        where: Where,
        into: Reading,
        n_runs: int,
        weight: float,
        wanted: list[Site],
        patterns: PatternGradients | None,
    ) -> None:
        self.model, self.blocks, self.where, self.into = model, blocks, where, into
        self.n_runs, self.weight = n_runs, weight
        self._streams: dict[str, Tensor] = {}
        self._normed: dict[int, tuple[Tensor, Tensor]] = {}
        self._sites, self._patterns = wanted, patterns
        self._values: list[Tensor] = []

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Note the streams that blocks read in a run."""
        with contextlib.ExitStack() as stack:
            for block in self.blocks[self.into.first :]:
                names = {sites.resid_pre(block.layer)} | ({block.mlp_stream} if block.has_mlp else set())
                for site in names:
                    stack.enter_context(hooked(hook_point(self.model, site), self._keeper(site.hook)))
            yield

    def _keeper(self, name: str) -> Callable[[Tensor], None]:
        def keep(value: Tensor) -> None:
            with torch.no_grad():
                self._streams[name] = self._kept(value.detach())

        return keep

    def _kept(self, value: Float[Tensor, "rows pos *rest"]) -> Float[Tensor, "run token *rest"]:
        rows, at = (index.to(value.device) for index in self.where)
        return value.unflatten(0, (self.n_runs, -1))[:, rows, at]

    def prepare(self, seen: Any) -> None:
        """Take what passed the sites, before the backward pass."""
        self._values = [seen[site] for site in self._sites]

    def receive(self, i: int, gradient: Tensor) -> None:
        """The gradient at the i-th site."""
        site = self._sites[i]
        with torch.no_grad():
            if site.kind == "pattern":
                assert self._patterns is not None
                self._patterns[site.layer or 0] = (self._values[i].detach(), gradient)
                return
            kept = wide(self._kept(gradient))
            if site.kind == "resid_post":
                self.into.final = _added(self.into.final, kept.sum(0) * self.weight)
            elif site.kind == "mlp_in":
                block = self.blocks[site.layer or 0]
                pulled = block.before_mlp.pull_back(kept, self._streams[block.mlp_stream.hook])
                layer = self.into.layers[block.layer]
                layer.mlp = _added(layer.mlp, pulled.sum(0) * self.weight)
            else:
                self._receive_heads(site, kept, wide(self._kept(self._values[i].detach())))

    def _receive_heads(self, site: Site, gradient: Tensor, value: Tensor) -> None:
        block = self.blocks[site.layer or 0]
        layer = self.into.layers[block.layer]
        norm = block.before_attention
        columns = block.columns(site.kind)
        if layer.heads is None:
            layer.heads = gradient.new_zeros(gradient.shape[1], block.n_readers, gradient.shape[-1])
        if not norm.divides:
            layer.heads[:, columns] += gradient.sum(0) * self.weight
            return
        if block.layer not in self._normed:
            self._normed[block.layer] = norm.normalised(self._streams[sites.resid_pre(block.layer).hook])
            normed = self._normed[block.layer][0]
            layer.normed.append(normed)
            layer.along.append(gradient.new_zeros(*normed.shape[:2], block.n_readers))
        normed, inverse = self._normed[block.layer]
        scaled = gradient * (inverse[..., None] * self.weight)
        layer.heads[:, columns] += scaled.sum(0)
        # x̂ · (W dq) without making W dq: the value itself is x̂ W plus a constant.
        layer.along[-1][:, :, columns] = ((value - block.bias(site.kind)) * scaled).sum(-1) / normed.shape[-1]


def _added(total: Tensor | None, more: Tensor) -> Tensor:
    return more if total is None else total + more
