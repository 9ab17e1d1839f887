"""What all circuits on the same prompts have in common: the run itself, and what stands in for ablated writers.

Both runs are kept compactly: the mixed values z of heads instead of what each writes into the stream, from the first
position at which the two runs can differ up to the last one that the metric reads.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.circuits.graph import Graph
from interp.circuits.projections import Projections
from interp.hooks.partial import KeysValues, has_suffix_runs, hooked, run, run_recording
from interp.hooks.readout import Readout
from interp.hooks.sites import attn_out, hook_points, mlp_out, resid_post, resid_pre, z
from interp.tasks.metric import Metric

Stream = Float[Tensor, "batch pos d_model"]
Mixed = Float[Tensor, "batch pos head d_head"]


@dataclass(frozen=True, eq=False)
class Recording:
    """What the writers of one run wrote. embed: [batch, pos, d_model]; z: by layer, with the scale of a norm behind
    attention multiplied in; mlp: by layer, empty without MLPs."""

    embed: Stream
    z: tuple[Mixed, ...]
    mlp: tuple[Stream, ...]

    def at(self, rows: Tensor | slice, positions: slice) -> Recording:
        """Some rows and positions, in memory of their own."""
        return Recording(
            self.embed[rows][:, positions].clone(),
            tuple(value[rows][:, positions].clone() for value in self.z),
            tuple(value[rows][:, positions].clone() for value in self.mlp),
        )


@dataclass(frozen=True, eq=False)
class Streams:
    """One run's residual stream: before every block and after the last (pre, n_layers + 1 of them), and between
    attention and MLP (mid; empty where they read the same)."""

    pre: tuple[Stream, ...]
    mid: tuple[Stream, ...]


@dataclass(frozen=True, eq=False)
class MaskBase:
    """The prompts' own run, what ablated writers write instead, and the stream if all of them did.

    tokens: Int[batch, pos] of the run, whole prompts; index: which of the task's they are. own, ablated: recordings
    over positions first .. end - 1. streams: the run's own; ablated_streams: with every writer ablated. past: keys and
    values before `first`. logits: the run's own readout.
    """

    tokens: Int[Tensor, "batch all_pos"]
    index: Int[Tensor, " batch"]
    first: int
    end: int
    own: Recording
    ablated: Recording
    streams: Streams
    ablated_streams: Streams
    past: KeysValues | None
    metric: Metric
    logits: Float[Tensor, "batch read"]

    @property
    def n_tokens(self) -> int:
        """Tokens that a run covers: prompts times positions."""
        return len(self.tokens) * (self.end - self.first)

    def rows(self, index: Int[Tensor, " row"]) -> MaskBase:
        """The base of some of its prompts."""
        every = slice(None)
        return MaskBase(
            self.tokens[index],
            self.index[index],
            self.first,
            self.end,
            self.own.at(index, every),
            self.ablated.at(index, every),
            _streams_at(self.streams, index),
            _streams_at(self.ablated_streams, index),
            None if self.past is None else self.past.rows(index),
            self.metric.rows(index),
            self.logits[index],
        )


@torch.no_grad()
def record(
    model: Any, tokens: Tensor, graph: Graph, own: Sequence[Projections], readout: Readout | None, with_past: bool
) -> tuple[Recording, Streams, KeysValues | None, Tensor | None]:
    """One forward pass that leaves what every writer wrote, the residual stream, its keys and values, its readout."""
    found: dict[tuple[str, int], Tensor] = {}
    points = hook_points(model)

    def keep(name: str, layer: int, value: Tensor) -> None:
        found[name, layer] = value.clone()

    def rescale(layer: int, value: Tensor) -> None:
        found["z", layer] = found["z", layer] * own[layer].written_scale(value)[..., None]

    with contextlib.ExitStack() as stack:
        for layer in range(graph.n_layers):
            named = {"pre": resid_pre(layer), "z": z(layer), "out": attn_out(layer)}
            named |= {"mlp": mlp_out(layer)} if graph.has_mlp else {}
            for name, site in named.items():
                hook = points[site.hook]
                stack.enter_context(hooked(hook, partial(keep, name, layer)))
            if own[layer].after.divides:
                behind = points[f"blocks.{layer}.ln1_post.hook_in"]
                stack.enter_context(hooked(behind, partial(rescale, layer)))
        last = graph.n_layers
        stack.enter_context(hooked(points[resid_post(last - 1).hook], partial(keep, "pre", last)))
        if with_past:
            logits, past = run_recording(model, tokens, readout)
        elif readout is None:
            logits, past = None, None
            run(model, tokens, stop=last)
        else:
            logits, past = run(model, tokens, readout=readout), None
    layers = range(last)
    mids = () if graph.parallel or not graph.has_mlp else tuple(found["pre", i] + found["out", i] for i in layers)
    recording = Recording(
        found["pre", 0],
        tuple(found["z", i] for i in layers),
        tuple(found["mlp", i] for i in layers) if graph.has_mlp else (),
    )
    return recording, Streams(tuple(found["pre", i] for i in range(last + 1)), mids), past, logits


@torch.no_grad()
def prepare(
    model: Any,
    tokens: Tensor,
    index: Tensor,
    metric: Metric,
    graph: Graph,
    own: Sequence[Projections],
    ablated: Recording,
    first: int,
    end: int,
) -> MaskBase:
    """Run the prompts once. ablated: what stands in for every writer, over whole prompts; first, end: what to cover."""
    with_past = first > 0 and has_suffix_runs(model)
    recording, streams, past, logits = record(model, tokens, graph, own, metric.readout, with_past)
    first = first if with_past else 0
    assert logits is not None
    every, covered = slice(None), slice(first, end)
    recording, ablated, streams = (
        recording.at(every, covered),
        ablated.at(every, covered),
        _streams_at(streams, every, covered),
    )
    return MaskBase(
        tokens=tokens,
        index=index,
        first=first,
        end=end,
        own=recording,
        ablated=ablated,
        streams=streams,
        ablated_streams=_all_ablated(streams, ablated, own),
        past=past.prefix(first) if past is not None else None,
        metric=metric,
        logits=logits,
    )


def _all_ablated(streams: Streams, ablated: Recording, own: Sequence[Projections]) -> Streams:
    """The stream that the stand-ins add up to.

    Added up, not subtracted from the run's own: norms blow up the rounding errors of a stream that should be zero.
    """
    stream = ablated.embed
    pre, mid = [stream], []
    for layer, weights in enumerate(own):
        stream = stream + torch.einsum("bphe,hed->bpd", ablated.z[layer], weights.write)
        if weights.constant is not None:
            stream = stream + weights.constant
        if streams.mid:
            mid.append(stream)
        if ablated.mlp:
            stream = stream + ablated.mlp[layer]
        pre.append(stream)
    return Streams(tuple(pre), tuple(mid))


def _streams_at(streams: Streams, rows: Tensor | slice, positions: slice = slice(None)) -> Streams:
    return Streams(
        *(tuple(x[rows][:, positions].clone() for x in getattr(streams, field.name)) for field in fields(streams))
    )


def nothing_written(recording: Recording) -> Recording:
    """Zeros where a recording has values; they take no memory."""
    return Recording(
        recording.embed.new_zeros(()).expand_as(recording.embed),
        tuple(value.new_zeros(()).expand_as(value) for value in recording.z),
        tuple(value.new_zeros(()).expand_as(value) for value in recording.mlp),
    )
