"""The two runs of path patching, folded over senders: what the receivers would read, and what follows when they do.

First run. All heads but the sender write what they write anyway, so nothing moves between positions: MLPs and norms
act on each position by itself. Hence only the positions that are read are run, gathered into a short "prompt" whose
attention is thrown away. Second run. Nothing changes before the first receiver's layer and before the first changed
position; the rest runs over cached keys and values, as in `folded_runs`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.hooks.capturing import Activations, capture
from interp.hooks.partial import KeysValues, StopForward, has_suffix_runs, hooked, run, run_recording
from interp.hooks.readout import Readout
from interp.hooks.sites import Site, attn_out, hook_point, resid_post, resid_pre, z
from interp.patching.receivers import Receiver, queries_per_group, shares_keys
from interp.tasks.metric import Metric

Streams = dict[int, Float[Tensor, "row chosen d_model"]]


@dataclass(frozen=True, eq=False)
class PathBase:
    """What all paths of a batch of prompts have in common.

    streams: the run's residual stream before every block and after the last; own, other: z of the run and of the run
    the senders' values come from; past: the run's keys and values, or None where the model keeps none; logits: its
    readout. chosen: the positions at which receivers read something new, and taken: which of them really do (the rest
    are read as they were). end: one past the last position the metric reads.
    """

    streams: Activations
    own: Activations
    other: Activations
    past: KeysValues | None
    logits: Tensor
    metric: Metric
    chosen: Int[Tensor, "batch chosen"]
    taken: Bool[Tensor, "batch chosen"]
    end: int

    @property
    def first(self) -> int:
        """The first position that the second run covers."""
        return min(int(self.chosen.min()), self.end - 1) if self.past is not None else 0

    def at(self, value: Float[Tensor, "batch pos *rest"]) -> Float[Tensor, "batch chosen *rest"]:
        """An activation at the chosen positions."""
        rows = torch.arange(len(value), device=value.device)[:, None]
        return value[rows, self.chosen.to(value.device)]


def prepare(
    model: Any,
    run_tokens: Tensor,
    other_tokens: Tensor,
    metric: Metric,
    chosen: Int[Tensor, "batch chosen"],
    taken: Bool[Tensor, "batch chosen"],
) -> PathBase:
    """Run both prompts once and keep what the paths need."""
    layers = range(int(model.cfg.n_layers))
    heads = [z(layer) for layer in layers]
    plain = run_tokens.as_subclass(Tensor)
    own = capture(model, plain, [*(resid_pre(i) for i in layers), resid_post(layers[-1]), *heads])
    other = capture(model, other_tokens.as_subclass(Tensor), heads)
    tokens = plain.to(own[z(0)].device)
    past = None
    if has_suffix_runs(model):
        logits, past = run_recording(model, tokens, metric.readout)
    else:
        logits = run(model, tokens, readout=metric.readout)
    end = int(metric.readout.positions.max()) + 1
    return PathBase(own, own, other, past, logits, metric, chosen, taken, end)


def stream_before(model: Any, base: PathBase, layer: int) -> Float[Tensor, "batch pos d_model"]:
    """The run's residual stream entering a block; `n_layers` gives the stream after the last one."""
    return base.streams[resid_pre(layer) if layer < int(model.cfg.n_layers) else resid_post(layer - 1)]


def sent(model: Any, layer: int, heads: Sequence[int], base: PathBase, stops: Sequence[int], mlps: str) -> Streams:
    """Step 1: what enters each block of `stops` when one head of `layer` sends, a sender after the other (run-major).

    mlps: "recompute" lets MLPs and norms answer to the change on its way; "freeze" adds the head's own change.
    """
    if mlps == "freeze":
        change = _written(model, layer, heads, base)
        return {stop: (base.at(stream_before(model, base, stop)) + change).flatten(0, 1) for stop in stops}
    stream = base.at(base.streams[resid_pre(layer)]).repeat(len(heads), 1, 1)
    found: Streams = {}
    with contextlib.ExitStack() as stack:
        for through in range(layer, max(stops)):
            values = _heads_held(through, heads if through == layer else [None] * len(heads), base)
            stack.enter_context(_writing(model, z(through), values))
        for stop in stops:
            if stop < max(stops):
                stack.enter_context(_keeping(model, resid_pre(stop), found, stop))
        found[max(stops)] = run(model, stream, start=layer, stop=max(stops))
    return found


def logits_after(model: Any, final: Float[Tensor, "row chosen d_model"], base: PathBase) -> Float[Tensor, "row read"]:
    """The readout of changed final residual streams, which hold the readout's positions and no others."""
    last = int(model.cfg.n_layers) - 1
    n_rows, n_read = final.shape[:2]
    positions = torch.arange(n_read, device=final.device).expand(n_rows, -1)
    columns = base.metric.readout.columns
    if columns is not None:
        columns = columns.repeat(n_rows // len(columns), 1)
    # What the last block makes of its input is thrown away: the bridge has no entrance behind it.
    with _writing(model, resid_post(last), final):
        return run(model, final, start=last, readout=Readout(positions, columns))


def logits_received(
    model: Any, receivers: Sequence[Receiver], streams: Streams, base: PathBase
) -> Float[Tensor, "row read"]:
    """Step 2: the readout of runs in which the receivers read `streams` and everything after them answers."""
    by_layer = [(layer, list(group)) for layer, group in groupby(receivers, lambda receiver: receiver.layer)]
    by_layer = [(layer, here) for layer, here in by_layer if layer in streams]
    n_cells = len(streams[by_layer[0][0]]) // len(base.chosen)
    first = base.first
    past = base.past.prefix(first) if base.past is not None and first > 0 else None
    stream = base.streams[resid_pre(by_layer[0][0])][:, first : base.end].repeat(n_cells, 1, 1)
    stops = [layer for layer, _ in by_layer[1:]]
    for (layer, here), stop in zip(by_layer, [*stops, None]):
        new = _inputs(model, layer, {receiver.letter for receiver in here}, streams[layer])
        with contextlib.ExitStack() as stack:
            for site, function in _writes(model, layer, here, new, stream, base, past):
                stack.enter_context(hooked(hook_point(model, site), function))
            readout = base.metric.readout if stop is None else None
            stream = run(model, stream, start=layer, stop=stop, past=past, readout=readout)
    return stream


def _heads_held(layer: int, senders: Sequence[int | None], base: PathBase) -> Float[Tensor, "row chosen head d_head"]:
    """z of a layer at the chosen positions, one copy a sender: the run's own, with the sender's from the other run."""
    held = base.at(base.own[z(layer)])
    other = base.at(base.other[z(layer)])
    copies = held[None].repeat(len(senders), 1, 1, 1, 1)
    taken = base.taken.to(held.device)[..., None]
    for copy, head in zip(copies, senders):
        if head is not None:
            copy[:, :, head] = torch.where(taken, other[:, :, head], held[:, :, head])
    return copies.flatten(0, 1)


def _written(
    model: Any, layer: int, heads: Sequence[int], base: PathBase
) -> Float[Tensor, "cell batch chosen d_model"]:
    """How the attention's contribution to the stream changes with each head, through a norm behind it if there is one.

    The unchanged contribution is the first copy of the same pass, so that what is equal differs by exactly nothing.
    """
    stream = base.at(base.streams[resid_pre(layer)]).repeat(len(heads) + 1, 1, 1)
    found: dict[int, Tensor] = {}
    with (
        _writing(model, z(layer), _heads_held(layer, [None, *heads], base)),
        _keeping(model, attn_out(layer), found, layer, stop=True),
    ):
        run(model, stream, start=layer, stop=layer + 1)
    copies = found[layer].view(len(heads) + 1, -1, *found[layer].shape[1:])
    return copies[1:] - copies[0]


def _inputs(
    model: Any, layer: int, letters: set[str], stream: Float[Tensor, "row chosen d_model"]
) -> dict[str, Float[Tensor, "row chosen head d_head"]]:
    """The queries, keys or values of a layer that reads `stream`; they depend on no other position."""
    found: dict[str, Tensor] = {}
    with contextlib.ExitStack() as stack:
        for letter in letters:
            stack.enter_context(_keeping(model, Site(letter, layer), found, letter, stop=len(letters)))
        run(model, stream, start=layer, stop=layer + 1)
    return found


def _writes(
    model: Any,
    layer: int,
    receivers: Sequence[Receiver],
    new: dict[str, Tensor],
    stream: Tensor,
    base: PathBase,
    past: KeysValues | None,
) -> list[tuple[Site, Any]]:
    """What to write where in the second run so that these receivers of one layer, and they alone, read the new values.

    Shared keys and values cannot be written without changing the heads beside. There a pass through this attention
    alone, with the shared ones written, says what the receiving head makes of them, and only that is put in its z.
    """
    own = [r for r in receivers if r.letter == "q" or not shares_keys(model)]
    writes = _direct_writes(layer, own, new, base)
    shared: dict[int, set[str]] = {}
    for receiver in receivers:
        if receiver not in own:
            shared.setdefault(receiver.head, set()).add(receiver.letter)
    size = queries_per_group(model)
    for letters in sorted({tuple(sorted(letters)) for letters in shared.values()}):
        heads = [head for head, wanted in shared.items() if tuple(sorted(wanted)) == letters]
        groups = [Receiver(layer, head // size, letter) for head in heads for letter in letters]
        found: dict[int, Tensor] = {}
        with contextlib.ExitStack() as stack:
            for site, function in [*_direct_writes(layer, own, new, base), *_direct_writes(layer, groups, new, base)]:
                stack.enter_context(hooked(hook_point(model, site), function))
            stack.enter_context(_keeping(model, z(layer), found, layer, stop=True))
            run(model, stream, start=layer, stop=layer + 1, past=past)
        writes.append((z(layer), _heads_replaced(heads, found[layer])))
    return writes


def _direct_writes(
    layer: int, receivers: Sequence[Receiver], new: dict[str, Tensor], base: PathBase
) -> list[tuple[Site, Any]]:
    """Hooks that put new queries, keys or values of whole (key/value) heads in place."""
    by_letter: dict[str, set[int]] = {}
    for receiver in receivers:
        by_letter.setdefault(receiver.letter, set()).add(receiver.head)
    return [
        (Site(letter, layer), _placed(sorted(heads), new[letter], base)) for letter, heads in sorted(by_letter.items())
    ]


def _placed(heads: Sequence[int], new: Float[Tensor, "row chosen head d_head"], base: PathBase) -> Any:
    """A hook that writes `new` at the chosen positions of some heads."""
    batch = len(base.chosen)
    first = base.first
    # Positions outside what is run keep their values: the metric cannot see them.
    row, column = ((base.chosen >= first) & (base.chosen < base.end)).nonzero(as_tuple=True)
    to = base.chosen[row, column] - first

    def write(value: Float[Tensor, "row pos head d_head"]) -> Tensor:
        into = value.clone().view(-1, batch, *value.shape[1:])
        given = new.to(into).view(-1, batch, *new.shape[1:])
        for head in heads:
            into[:, row, to, head] = given[:, row, column, head]
        return into.flatten(0, 1)

    return write


def _heads_replaced(heads: Sequence[int], new: Float[Tensor, "row pos head d_head"]) -> Any:
    def write(value: Tensor) -> Tensor:
        value = value.clone()
        value[:, :, heads] = new[:, :, heads]
        return value

    return write


def _writing(model: Any, site: Site, values: Tensor) -> contextlib.AbstractContextManager[None]:
    """Put `values` in the place of a whole activation."""
    return hooked(hook_point(model, site), lambda value: values.to(value))


@contextlib.contextmanager
def _keeping(model: Any, site: Site, found: dict[Any, Tensor], key: Any, stop: int = 0) -> Iterator[None]:
    """Note what passes a site; the pass ends when `stop` activations were found (0: it goes on)."""

    def keep(value: Tensor) -> None:
        found[key] = value.clone()
        if stop and len(found) >= stop:
            raise StopForward(value)  # what the pass that it ends returns

    with hooked(hook_point(model, site), keep):
        yield
