"""The metric of many partly knocked-out models on the same prompts, in few and short forward passes.

Models that keep almost the same heads compute almost the same thing. A run is therefore derived from a base, a run
that was recorded: it equals the base before the first layer and before the first position at which they differ, so it
starts from the base's residual stream there and covers only the positions from there on, over the base's keys and
values. Runs of one base share a batch (run-major). Prompts of one length go together, so that there are no pads and the
last position is the same in all. The slow twin in the tests runs one model on whole prompts with `interp.ablate`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.circuits.head_circuits import HeadCircuit, Place
from interp.circuits.head_level.reference_means import GroupMeans, layouts_of
from interp.errors import InputError
from interp.hooks.partial import KeysValues, embedding_device, has_suffix_runs, hooked, run, run_recording
from interp.hooks.sites import hook_point, resid_pre, z
from interp.patching.packing import DEFAULT_BUDGET, pack, tokens_per_pass
from interp.tasks import PromptPairs
from interp.tasks.metric import Metric


@dataclass(frozen=True)
class Kept:
    """Which heads are left alone, and where.

    places: (layer, head, role). inside: True keeps the places and knocks out everything else (a circuit alone, C);
    False knocks out the places and keeps everything else (the model without them, M \\ K).
    """

    places: frozenset[Place]
    inside: bool

    @classmethod
    def only(cls, circuit: HeadCircuit) -> Kept:
        """Nothing but the circuit."""
        return cls(circuit.places, True)

    @classmethod
    def all_but(cls, circuit: HeadCircuit) -> Kept:
        """The whole model but the circuit."""
        return cls(circuit.places, False)


NOTHING = Kept(frozenset(), True)
"""Every head at every position is knocked out: what MLPs and the means alone do."""
EVERYTHING = Kept(frozenset(), False)
"""The intact model."""


@dataclass(frozen=True, eq=False)
class _Base:
    """A recorded run: the stream entering each of some blocks, keys and values (if the model has them), the metric."""

    streams: dict[int, Float[Tensor, "batch pos d_model"]]
    past: KeysValues | None
    scores: Float[Tensor, " batch"]


@dataclass(frozen=True, eq=False)
class _Part:
    """Prompts of one length.

    rows: which of the task's prompts they are. tokens: [batch, pos]. positions: role -> index. means: those of the
    layouts of these prompts, and layout: which of them each prompt has. end: one past the last position that is read.
    """

    rows: Int[Tensor, " batch"]
    tokens: Int[Tensor, "batch pos"]
    positions: dict[str, Int[Tensor, " batch"]]
    means: Float[Tensor, "layout layer pos head d_head"]
    layout: Int[Tensor, " batch"]
    metric: Metric
    end: int
    bases: dict[Kept, _Base] = field(default_factory=dict)

    def first(self, places: Iterable[Place]) -> int:
        """The first position that any of the places has in any prompt; `end` for none."""
        return min((int(self.positions[role].min()) for role in {role for *_, role in places}), default=self.end)


class AblatedRuns:
    """Runs a task's clean prompts with some heads knocked out to their group means; see `scores`.

    base_circuits: models that others differ from by little, besides the intact one and the one that keeps nothing.
    starts: the layers that runs may start at (default: all); fewer need less memory. memory_budget: bytes a pass.
    """

    def __init__(
        self,
        model: Any,
        task: PromptPairs,
        means: GroupMeans,
        base_circuits: Iterable[Kept] = (),
        *,
        starts: Iterable[int] | None = None,
        memory_budget: int = DEFAULT_BUDGET,
    ) -> None:
        self.model = model
        self.n_prompts = len(task)
        self.n_layers, self.n_heads = int(model.cfg.n_layers), int(model.cfg.n_heads)
        self.starts = sorted({0, *(range(self.n_layers) if starts is None else starts)})
        self.lasting = tuple(dict.fromkeys([NOTHING, EVERYTHING, *base_circuits]))
        self.bases = self.lasting
        self.suffixes = has_suffix_runs(model)
        self.max_tokens = tokens_per_pass(model, task.clean.shape[1], memory_budget)
        self.parts = [_part(model, task, means, rows) for rows in _by_length(task, self.max_tokens)]

    @torch.no_grad()
    def scores(
        self, kept: Sequence[Kept], advance: Callable[[int], Any] = lambda n: None
    ) -> Float[Tensor, "kept prompt"]:
        """The task's metric of every knocked-out model on every prompt, on the CPU, in float32.

        advance: told how many (model, prompt) pairs are done.
        """
        distinct = {one: i for i, one in enumerate(dict.fromkeys(kept))}
        found = torch.zeros(len(distinct), self.n_prompts)
        for part in self.parts:
            by_base: dict[Kept, list[Kept]] = {}
            for one in distinct:
                by_base.setdefault(self._nearest(one, part), []).append(one)
            for base, wanted in by_base.items():
                rows = torch.tensor([distinct[one] for one in wanted])
                found[rows[:, None], part.rows] = self._from_base(base, wanted, part).float().cpu()
                advance(sum(kept.count(one) for one in wanted) * len(part.rows))
        return found[[distinct[one] for one in kept]]

    def add_base(self, base: Kept, upcoming: Sequence[Kept]) -> None:
        """Derive runs from this one too, if that saves more on the upcoming ones than recording it costs.

        Earlier additions of its kind are forgotten: a search moves on.
        """
        added = {one for one in self.bases if one.inside == base.inside and one not in self.lasting}
        kept_bases = [one for one in self.bases if one not in added]
        alike = [one for one in self.bases if one.inside == base.inside]
        saved = 0
        for part in self.parts:
            saved -= len(part.rows) * self.n_layers * part.end
            for one in upcoming:
                now = min(self._work(old, one, part) for old in alike)
                saved += len(part.rows) * max(0, now - self._work(base, one, part))
        if saved > 0:
            for part in self.parts:
                for one in added:
                    part.bases.pop(one, None)
            self.bases = (*kept_bases, base)

    def _nearest(self, kept: Kept, part: _Part) -> Kept:
        """The base that leaves least to compute."""
        alike = [base for base in self.bases if base.inside == kept.inside]
        return min(alike, key=lambda base: self._work(base, kept, part))

    def _work(self, base: Kept, kept: Kept, part: _Part) -> int:
        """Layers times positions that a run derived from the base covers, for each prompt."""
        changed = base.places ^ kept.places
        layers = self.n_layers - min((layer for layer, *_ in changed), default=self.n_layers)
        first = part.first(changed) if self.suffixes or not changed else 0
        return layers * max(0, part.end - first)

    def _from_base(self, base: Kept, kept: Sequence[Kept], part: _Part) -> Float[Tensor, "kept batch"]:
        recorded = self._recorded(base, part)
        scores = recorded.scores[None].repeat(len(kept), 1)
        first = [part.first(base.places ^ one.places) for one in kept]
        active = [i for i, at in enumerate(first) if at < part.end]
        covered = [first[i] if self.suffixes else 0 for i in active]
        for group in pack(covered, part.end, len(part.rows), self.max_tokens):
            together = [active[i] for i in group]
            members = [kept[i] for i in together]
            layer = min(place[0] for one in members for place in base.places ^ one.places)
            scores[together] = self._run(recorded, members, part, layer, min(covered[i] for i in group)).to(scores)
        return scores

    def _run(
        self, base: _Base, kept: Sequence[Kept], part: _Part, layer: int, first: int
    ) -> Float[Tensor, "kept batch"]:
        """One forward pass for several models, from a layer and a position on."""
        start = max(at for at in self.starts if at <= layer)
        stream = base.streams[start][:, first : part.end].repeat(len(kept), 1, 1)
        past = base.past.prefix(first) if base.past is not None and first > 0 else None
        with self._knocking_out(kept, part, start, first):
            logits = run(self.model, stream, start=start, past=past, readout=part.metric.readout)
        return part.metric.score(logits.view(len(kept), len(part.rows), -1))

    def _recorded(self, kept: Kept, part: _Part) -> _Base:
        """The base's own run over whole prompts, made when it is first needed."""
        if kept not in part.bases:
            streams: dict[int, Tensor] = {}

            def keep(layer: int) -> Callable[[Tensor], None]:
                def read(value: Tensor) -> None:
                    streams[layer] = value[:, : part.end].clone()

                return read

            readout = part.metric.readout
            with contextlib.ExitStack() as stack:
                for layer in self.starts:
                    stack.enter_context(hooked(hook_point(self.model, resid_pre(layer)), keep(layer)))
                stack.enter_context(self._knocking_out([kept], part, 0, 0))
                if self.suffixes:
                    logits, past = run_recording(self.model, part.tokens, readout)
                else:
                    logits, past = run(self.model, part.tokens, readout=readout), None
            part.bases[kept] = _Base(streams, past, part.metric.score(logits))
        return part.bases[kept]

    @contextlib.contextmanager
    def _knocking_out(self, kept: Sequence[Kept], part: _Part, start: int, first: int) -> Any:
        """Hooks on z from layer `start` on, for activations that begin at position `first`."""

        def writing(layer: int) -> Callable[[Tensor], Tensor]:
            def write(value: Tensor) -> Tensor:
                end = first + value.shape[1]
                means = part.means[:, layer, first:end][part.layout].to(value)
                out = self._knocked_out(kept, part, layer, first, end).to(value.device)
                folded = value.view(len(kept), len(part.rows), *value.shape[1:])
                return torch.where(out[..., None], means, folded).view_as(value)

            return write

        touched = {layer for one in kept for layer, *_ in one.places}
        with contextlib.ExitStack() as stack:
            for layer in range(start, self.n_layers):
                if kept[0].inside or layer in touched:
                    stack.enter_context(hooked(hook_point(self.model, z(layer)), writing(layer)))
            yield

    def _knocked_out(
        self, kept: Sequence[Kept], part: _Part, layer: int, first: int, end: int
    ) -> Bool[Tensor, "kept batch pos head"]:
        named = torch.zeros((len(kept), len(part.rows), end - first, self.n_heads), dtype=torch.bool)
        for i, one in enumerate(kept):
            for at_layer, head, role in one.places:
                if at_layer != layer:
                    continue
                position = part.positions[role] - first
                rows = ((position >= 0) & (position < end - first)).nonzero()[:, 0]
                named[i, rows, position[rows], head] = True
        inside = torch.tensor([one.inside for one in kept])
        return named ^ inside[:, None, None, None]


def _by_length(task: PromptPairs, max_tokens: int) -> list[list[int]]:
    """Rows of the task's prompts, together where they have one length, no more at a time than fit."""
    by_length: dict[int, list[int]] = {}
    for row, length in enumerate(task.lengths.tolist()):
        by_length.setdefault(length, []).append(row)
    parts = []
    for length, rows in by_length.items():
        step = max(1, max_tokens // length)
        parts += [rows[i : i + step] for i in range(0, len(rows), step)]
    return parts


def _part(model: Any, task: PromptPairs, means: GroupMeans, rows: list[int]) -> _Part:
    some = task[rows]
    length = int(some.lengths[0])
    device = embedding_device(model)
    layouts = layouts_of(some.clean)
    each = list(dict.fromkeys(layouts))
    stacked = torch.stack([means.of(layout) for layout in each])
    if stacked.shape[1] != int(model.cfg.n_layers) or stacked.shape[3] != int(model.cfg.n_heads):
        raise InputError("the means were taken of another model; run group_means on this one")
    return _Part(
        rows=torch.tensor(rows),
        tokens=some.clean.as_subclass(Tensor)[:, :length].to(device),
        positions={role: at.cpu() for role, at in some.positions.items()},
        means=stacked.to(device),
        layout=torch.tensor([each.index(layout) for layout in layouts], device=device),
        metric=some.metric.to(device),
        end=int(some.metric.readout.positions.max()) + 1,
    )
