"""The patched runs of a sweep, folded into few forward passes over what can have changed.

A patched run equals the unpatched one before the patched layer and before the patched position, so it starts from the
cached residual stream of that layer, covers only the positions from there on over cached keys and values, and unembeds
only what the metric reads. Runs of one layer share a batch (run-major). The slow twin in the tests patches one cell at
a time with a hook on a full forward pass.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interp.hooks.capturing import Activations, capture
from interp.hooks.partial import KeysValues, embedding_device, has_suffix_runs, hooked, run, run_recording
from interp.hooks.readout import Readout
from interp.hooks.sites import Site, hook_point, resid_pre
from interp.patching.cells import Cell
from interp.patching.packing import pack
from interp.tasks import PromptPairs
from interp.tasks.metric import Metric


@dataclass(frozen=True, eq=False)
class Base:
    """What the patched runs have in common: the unpatched run and the donor.

    tokens: of the run; streams: its residual stream before each block; past: its keys and values, or None where the
    model keeps none; logits: its readout; metric: of the run's prompts; donor: the other run's activations; first: the
    first position at which run and donor differ; end: one past the last position the metric reads. unpatched,
    donor_scores: the metric of both runs, Float[batch].
    """

    tokens: Tensor
    streams: dict[Site, Tensor]
    past: KeysValues | None
    metric: Metric
    donor: Activations
    over: str
    first: int
    end: int
    unpatched: Float[Tensor, " batch"]
    donor_scores: Float[Tensor, " batch"]


def prepare(model: Any, task: PromptPairs, over: str, layers: Sequence[int], direction: str) -> Base:
    """Run both prompts once, one forward pass each, and keep what the patched runs need."""
    if direction == "denoise":
        tokens, metric, donor_tokens, donor_metric = task.corrupt, task.corrupt_metric, task.clean, task.metric
    else:
        tokens, metric, donor_tokens, donor_metric = task.clean, task.metric, task.corrupt, task.corrupt_metric
    donor = capture(model, donor_tokens, [Site(over, layer) for layer in layers], readout=donor_metric.readout)
    tokens = tokens.as_subclass(Tensor).to(embedding_device(model))
    streams, logits, past = _record(model, tokens, layers, metric.readout)
    end = int(metric.readout.positions.max()) + 1
    return Base(
        tokens=tokens,
        streams=streams,
        past=past,
        metric=metric,
        donor=donor,
        over=over,
        first=min(int(task.divergence.min()), end - 1) if task.aligned else 0,
        end=end,
        unpatched=metric.score(logits),
        donor_scores=donor_metric.score(donor.logits),
    )


def _record(
    model: Any, tokens: Tensor, layers: Sequence[int], readout: Readout
) -> tuple[dict[Site, Tensor], Tensor, KeysValues | None]:
    """One forward pass that leaves the residual stream before each layer, the readout, and the keys and values."""
    streams: dict[Site, Tensor] = {}

    def keep(site: Site) -> Callable[[Tensor], None]:
        def read(value: Tensor) -> None:
            streams[site] = value.clone()

        return read

    with contextlib.ExitStack() as stack:
        for site in map(resid_pre, layers):
            stack.enter_context(hooked(hook_point(model, site), keep(site)))
        if has_suffix_runs(model):
            logits, past = run_recording(model, tokens, readout)
            return streams, logits, past
        return streams, run(model, tokens, readout=readout), None


def first_changed(cell: Cell, base: Base) -> int | None:
    """The first position a cell changes; None when it changes nothing that the metric can see."""
    if cell.to is None or cell.source is None:
        return base.first
    unmoved = bool((cell.to == cell.source).all())
    if (unmoved and int(cell.to.max()) < base.first) or int(cell.to.min()) >= base.end:
        return None
    if base.over == "resid_pre" and len(cell.layers) == 1 and _same_streams(cell, base):
        return None
    return int(cell.to.min())


def _same_streams(cell: Cell, base: Base) -> bool:
    """Whether the run already holds the donor's residual stream there, as at unchanged tokens of the first block."""
    rows = torch.arange(len(base.tokens))
    site = resid_pre(cell.layers[0])
    assert cell.to is not None
    assert cell.source is not None
    return torch.equal(base.streams[site][rows, cell.to], base.donor[site][rows, cell.source])


@torch.no_grad()
def score_layer(model: Any, cells: Sequence[Cell], base: Base, max_tokens: int) -> Float[Tensor, "cell batch"]:
    """m(patched) of every cell and prompt; all cells patch the same layers."""
    scores = base.unpatched[None].expand(len(cells), -1).clone()
    starts = [first_changed(cell, base) for cell in cells]
    active = [i for i, start in enumerate(starts) if start is not None]
    covered = [start if base.past is not None and start is not None else 0 for start in starts]
    for group in pack([covered[i] for i in active], base.end, len(base.tokens), max_tokens):
        members = [active[i] for i in group]
        first = min(covered[i] for i in members)
        logits = _run_cells(model, [cells[i] for i in members], base, first)
        scores[members] = base.metric.score(logits).to(scores)
    return scores


def _run_cells(model: Any, cells: Sequence[Cell], base: Base, first: int) -> Float[Tensor, "cell batch read"]:
    """One forward pass for several cells, over positions first .. end."""
    layers = cells[0].layers
    start = min(layers)
    n_cells, batch = len(cells), len(base.tokens)
    stream = base.streams[resid_pre(start)][:, first : base.end].repeat(n_cells, 1, 1)
    past = base.past.prefix(first) if base.past is not None and first > 0 else None
    with contextlib.ExitStack() as stack:
        for layer in layers:
            site = Site(base.over, layer)
            if site.kind == "resid_pre" and layer == start:
                stream = _patched(stream, cells, base.donor[site], site, first)
                continue

            def write(value: Tensor, site: Site = site) -> Tensor:
                return _patched(value.clone(), cells, base.donor[site], site, first)

            stack.enter_context(hooked(hook_point(model, site), write))
        logits = run(model, stream, start=start, past=past, readout=base.metric.readout)
    return logits.view(n_cells, batch, -1)


def _patched(value: Tensor, cells: Sequence[Cell], donor: Tensor, site: Site, first: int) -> Tensor:
    """Write the donor's values into the rows of each cell, in place."""
    runs = value.view(len(cells), -1, *value.shape[1:])
    for into, cell in zip(runs, cells):
        given = donor.to(into)
        if site.pos_dim == 2:  # attention: queries first, and only the keys that are there
            into, given = into.transpose(1, 2), given.transpose(1, 2)[..., : into.shape[-1]]
        _write_cell(into, given, cell, first)
    return value


def _write_cell(
    into: Float[Tensor, "batch pos *rest"], given: Float[Tensor, "batch all *rest"], cell: Cell, first: int
) -> None:
    n_pos = into.shape[1]
    heads: Any = slice(None) if cell.head is None else cell.head
    if cell.to is None or cell.source is None:
        changed = given[:, first : first + n_pos]
        if cell.head is None:
            into.copy_(changed)
        else:
            into[:, :, heads] = changed[:, :, heads]
        return
    # Prompts whose position lies outside what is run keep their values: the metric cannot see it.
    rows = ((cell.to >= first) & (cell.to < first + n_pos)).nonzero()[:, 0]
    to, source = cell.to[rows] - first, cell.source[rows]
    if cell.head is None:
        into[rows, to] = given[rows, source]
    else:
        into[rows, to, heads] = given[rows, source, heads]
