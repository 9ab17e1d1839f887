"""`MaskRunner`: what the metric is when only the edges of a circuit are left, for several circuits a forward pass.

A circuit is a mask [writers, readers]. In the run (the clean one under noising) every edge outside the mask carries
what stands in for its writer (see `ablation`): x_v += sum over removed u of (stand-in of u) - (what u writes now), with
what u writes recorded in the same pass. That is exact, because the stream is a sum. Node circuits are masks too:
`Circuit.from_nodes(graph, nodes).mask`. Edge patching in one forward pass: Miller et al. 2024 (AutoCircuit).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.circuits.ablation import AblationTuple, ablation_tuple, check_ablation, mean_values, resampled_rows
from interp.circuits.circuit import Circuit
from interp.circuits.graph import Graph
from interp.circuits.mask_base import MaskBase, Recording, nothing_written, prepare, record
from interp.circuits.mask_gradients import differentiable_readouts
from interp.circuits.mask_passes import FoldedPass
from interp.circuits.mask_plans import plan
from interp.circuits.mask_sums import LAYERS_AHEAD
from interp.circuits.projections import projections
from interp.circuits.task_checks import check_batch_size
from interp.errors import InputError
from interp.hooks.partial import embedding_device, has_suffix_runs
from interp.hooks.sites import Site
from interp.patching.packing import DEFAULT_BUDGET, tokens_per_pass
from interp.tasks import PromptPairs
from interp.tasks.metric import Metric

MOST_TOKENS = 1024
"""Tokens of one pass, over all its circuits: more make no matrix product faster."""


class MaskRunner:
    """Runs of a task in which each edge is either left alone or ablated; see the module's text.

    graph: of the model (default: its own, over all positions). value: zero | mean | resample | counterfactual.
    direction: "noise" is the clean run with corrupt stand-ins, "denoise" the corrupt run with clean ones; in both, a
    mask says which edges are left as the run has them. reference: prompts whose corrupt side gives means and resamples
    (default: the task's own). mean_over: "position", or "group" and position. seed: of the resampling. batch_size:
    prompts a pass; memory_budget: bytes that a pass may take, and bytes of the recordings that are kept between calls.
    Raises InputError for a model, a task or values that do not allow it, before anything runs.
    """

    def __init__(
        self,
        model: Any,
        task: PromptPairs,
        graph: Graph | None = None,
        *,
        value: str = "counterfactual",
        direction: str = "noise",
        reference: PromptPairs | None = None,
        mean_over: str = "position",
        seed: int = 0,
        batch_size: int | None = None,
        memory_budget: int = DEFAULT_BUDGET,
    ) -> None:
        self.reference = task if reference is None else reference
        check_ablation(task, self.reference, value, direction, mean_over)
        check_batch_size(batch_size)
        self.model, self.task = model, task
        self.graph = Graph.of(model) if graph is None else graph
        _check_model(model, self.graph)
        self.value, self.direction, self.mean_over, self.seed = value, direction, mean_over, seed
        self.tokens, self.run_metric = (
            (task.clean, task.metric) if direction == "noise" else (task.corrupt, task.corrupt_metric)
        )
        self._other = _other_run(task, self.reference, value, direction, seed)
        self._own = projections(model)
        self._roles = _role_positions(self.graph, self.tokens)
        self._end = self._last_position() + 1
        self._budget = memory_budget
        self._step = min(batch_size or self._rows_a_pass(), len(task))
        self._means: Recording | None = None
        self._bases: dict[int, MaskBase] = {}

    def __len__(self) -> int:
        return len(self.task)

    @property
    def batch_size(self) -> int:
        """How many prompts share a pass."""
        return self._step

    def ablation(self, granularity: str = "edges") -> AblationTuple:
        """What the numbers depend on besides the circuit."""
        value = f"mean per {self.mean_over}" if self.value == "mean" else self.value
        return ablation_tuple(self.graph, self.task, value, self.direction, granularity)

    def metric(self, masks: Bool[Tensor, "circuit writers readers"]) -> Float[Tensor, "circuit example"]:
        """The task's metric under each mask, for every prompt."""
        return self.run_metric.score(self.readouts(masks))

    def of_circuits(self, circuits: Sequence[Circuit]) -> Float[Tensor, "circuit example"]:
        """The task's metric of circuits. Raises InputError for circuits of another model."""
        return self.metric(self.masks_of(circuits))

    def masks_of(self, circuits: Sequence[Circuit]) -> Bool[Tensor, "circuit writers readers"]:
        """The masks of circuits. Raises InputError for circuits of another model."""
        for circuit in circuits:
            self.graph.check_same(circuit.graph)
        return torch.stack([circuit.mask for circuit in circuits])

    @torch.no_grad()
    def readouts(self, masks: Bool[Tensor, "circuit writers readers"]) -> Float[Tensor, "circuit example read"]:
        """The readout of the task's metric under each mask.

        The run starts at the first block in which some mask of the pass cuts an edge: masks that only cut edges into
        late layers are cheap.
        """
        masks = self._checked(masks)
        return torch.cat([self._part(base, masks, lambda values: values) for base in self._all_bases()], dim=1)

    @torch.no_grad()
    def measured(
        self,
        masks: Bool[Tensor, "circuit writers readers"],
        metrics: Sequence[Metric],
        done: Callable[[int], Any] = int,
    ) -> Float[Tensor, "metric circuit example"]:
        """Several metrics of the same runs, for a task whose own metric reads the whole vocabulary at one position.

        metrics: read at that position. done: told how many runs (circuits times prompts) each pass has finished.
        """
        masks = self._checked(masks)
        parts = []
        for base in self._all_bases():
            here = [metric.rows(base.index) for metric in metrics]

            def score(values: Tensor, here: list[Metric] = here) -> Tensor:
                done(values.shape[0] * values.shape[1])
                return torch.stack([metric.score(_columns(values, metric)) for metric in here], dim=-1)

            parts.append(self._part(base, masks, score))
        return torch.cat(parts, dim=1).movedim(-1, 0)

    def untouched(self) -> Float[Tensor, " example"]:
        """The metric of the run itself, with no edge cut."""
        return torch.cat([base.metric.score(base.logits) for base in self._all_bases()])

    def differentiable(
        self, masks: Float[Tensor, "circuit writers readers"], rows: Int[Tensor, " row"] | None = None
    ) -> Float[Tensor, "circuit row"]:
        """The task's metric under masks of any number from 0 (ablated) to 1 (left alone), with their gradient.

        rows: only these prompts, in this order. All of them are in one pass, as autograd keeps what it needs.
        """
        masks = self._checked(masks)
        index = torch.arange(len(self)) if rows is None else rows
        base = self._base_of(index)
        roles = None if self._roles is None else _flat(self._roles[:, base.index], base)
        values = differentiable_readouts(self.model, self.graph, self._own, base, masks, roles)
        return base.metric.score(values)

    # ---- passes ----------------------------------------------------------------------------------------------------

    def _part(
        self, base: MaskBase, masks: Tensor, finish: Callable[[Tensor], Tensor]
    ) -> Float[Tensor, "circuit batch read"]:
        """What `finish` makes of the readouts of some of the prompts, a pass at a time.

        Circuits that start late run apart from those that start early.
        """
        roles = None if self._roles is None else _flat(self._roles[:, base.index], base)
        shared = self._own[0].after.divides
        found, order = [], []
        for chosen in self._groups(base, masks):
            planned = plan(self.graph, masks[chosen], roles, self._from_a_run, shared, base.own.embed.dtype)
            if planned.start is None:
                values = base.logits.expand(len(chosen), -1, -1)
            else:
                values = FoldedPass(self.model, self.graph, self._own, base, planned).run()
            found.append(finish(values))
            order.append(chosen)
        return torch.cat(found)[torch.cat(order).argsort()]

    def _groups(self, base: MaskBase, masks: Tensor) -> Iterator[Int[Tensor, " _chosen"]]:
        """Which masks share a pass."""
        first_cut = self._first_cut(masks)
        order = first_cut.argsort(stable=True)
        dense = len(self.graph.with_positions(None).writers) * base.own.embed.shape[-1]
        each = base.n_tokens * (dense + _working_size(self.model)) * base.own.embed.element_size()
        size = max(1, min(self._budget // max(each, 1), MOST_TOKENS // base.n_tokens))
        yield from order.split(size)

    def _first_cut(self, masks: Tensor) -> Int[Tensor, " circuit"]:
        cut = (self.graph.exists & ~masks).any(1)
        layers = self.graph.reader_layer.expand(len(masks), -1)
        return layers.masked_fill(~cut, self.graph.n_layers + 1).amin(1)

    @property
    def _from_a_run(self) -> bool:
        return self.value in ("counterfactual", "resample")

    def _checked(self, masks: Tensor) -> Tensor:
        shape = tuple(self.graph.exists.shape)
        if masks.ndim != 3 or tuple(masks.shape[1:]) != shape:
            raise InputError(f"masks are [circuit, writers, readers] = [circuit, {shape[0]}, {shape[1]}], not "
                             f"{tuple(masks.shape)}")  # fmt: skip
        return masks

    # ---- what the passes have in common ----------------------------------------------------------------------------

    def _all_bases(self) -> Iterator[MaskBase]:
        for start in range(0, len(self), self._step):
            yield self._base(start)

    def _base(self, start: int) -> MaskBase:
        if start not in self._bases:
            if self._kept_bytes(len(self)) > self._budget:
                self._bases.clear()
            self._bases[start] = self._prepare(torch.arange(start, min(start + self._step, len(self))))
        return self._bases[start]

    def _base_of(self, rows: Tensor) -> MaskBase:
        if self._step == len(self):
            base = self._base(0)
            return base if torch.equal(rows, torch.arange(len(self))) else base.rows(rows)
        return self._prepare(rows)

    def _prepare(self, rows: Tensor) -> MaskBase:
        device = embedding_device(self.model)
        plain = self.tokens.as_subclass(Tensor)[rows].to(device)
        metric = self.run_metric.rows(rows).to(device)
        first, ablated = 0, None
        if self._other is not None:
            other = self._other[rows].to(device)
            first = self._first_difference(plain, other)
            ablated, *_ = record(self.model, other, self.graph, self._own, None, False)
        elif self.value == "mean":
            ablated = self._mean().at(rows, slice(None))
        if ablated is None:
            own, *_ = record(self.model, plain[:, :1], self.graph, self._own, None, False)
            ablated = nothing_written(_widened(own, plain.shape[1]))
        return prepare(self.model, plain, rows, metric, self.graph, self._own, ablated, first, self._end)

    def _mean(self) -> Recording:
        """The means for every pair of the task, from the reference's corrupt prompts."""
        if self._means is None:
            prompts = self.reference.corrupt
            plain = prompts.as_subclass(Tensor).to(embedding_device(self.model))
            parts = [
                record(self.model, plain[rows], self.graph, self._own, None, False)[0]
                for rows in torch.arange(len(plain)).split(self._step)
            ]
            joined = Recording(
                torch.cat([part.embed for part in parts]),
                tuple(torch.cat(layer) for layer in zip(*(part.z for part in parts))),
                tuple(torch.cat(layer) for layer in zip(*(part.mlp for part in parts))),
            )
            self._means = _mean_recording(self.task, joined, prompts, self.mean_over)
        return self._means

    def _first_difference(self, tokens: Tensor, other: Tensor) -> int:
        if self._roles is not None or not has_suffix_runs(self.model):
            return 0
        differ = (tokens != other).any(0)
        return min(int(differ.int().argmax()) if bool(differ.any()) else self._end, self._end - 1)

    def _last_position(self) -> int:
        last = int(self.run_metric.readout.positions.max())
        return last if self._roles is None else max(last, int(self._roles.max()))

    def _kept_bytes(self, n_rows: int) -> int:
        """Bytes that the recordings of so many prompts take: z and MLP of two runs, and three streams."""
        cfg = self.model.cfg
        a_token = self.graph.n_layers * (2 * int(cfg.n_heads) * int(cfg.d_head) + 5 * int(cfg.d_model))
        return 4 * n_rows * self._end * a_token

    def _rows_a_pass(self) -> int:
        """Prompts of which the recordings take half of the budget, and one dense circuit the other half."""
        dense = len(self.graph.with_positions(None).writers) * int(self.model.cfg.d_model)
        per_row = max(self._kept_bytes(1), 4 * self._end * (dense + _working_size(self.model)))
        most = min(MOST_TOKENS, tokens_per_pass(self.model, self._end, self._budget)) // self._end
        return max(1, min(self._budget // (2 * per_row), most))


def _other_run(
    task: PromptPairs, reference: PromptPairs, value: str, direction: str, seed: int
) -> Int[Tensor, "example pos"] | None:
    """The prompts whose run gives the stand-ins, one a pair; None where no run of its own does."""
    if value == "counterfactual":
        return (task.corrupt if direction == "noise" else task.clean).as_subclass(Tensor)
    if value == "resample":
        drawn = reference.corrupt.as_subclass(Tensor)[resampled_rows(task, reference, seed)]
        width = task.clean.shape[1]
        return torch.nn.functional.pad(drawn, (0, max(0, width - drawn.shape[1])), value=task.pad_id)[:, :width]
    return None


def _check_model(model: Any, graph: Graph) -> None:
    Graph.of(model, positions=graph.positions).check_same(graph)


def _role_positions(graph: Graph, tokens: Any) -> Int[Tensor, "role example"] | None:
    """Where the roles of a graph over token positions stand in the run's prompts."""
    if graph.positions is None:
        return None
    missing = [role for role in graph.positions if role not in tokens.positions]
    if missing:
        raise InputError(f"the graph is over the position {missing[0]!r}, which the task does not name")
    places = torch.stack([tokens.positions[role].cpu() for role in graph.positions])
    ordered = places.sort(0).values
    same = (ordered[1:] == ordered[:-1]).any(0)
    if bool(same.any()):
        raise InputError(
            f"two of the graph's positions are the same token in pair {int(same.nonzero()[0])}; leave one of them out"
        )
    return places


def _flat(places: Int[Tensor, "role row"], base: MaskBase) -> tuple[Int[Tensor, " _token"], ...]:
    """Role positions as indices into the flattened [batch, pos] of a base."""
    width = base.end - base.first
    starts = torch.arange(places.shape[1]) * width
    return tuple((starts + role - base.first).to(base.tokens.device) for role in places)


def _mean_recording(task: PromptPairs, joined: Recording, prompts: Tensor, over: str) -> Recording:
    n_layers = len(joined.z)
    sites = {Site("embed"): joined.embed}
    sites |= {Site("z", layer): value for layer, value in enumerate(joined.z)}
    sites |= {Site("mlp_out", layer): value for layer, value in enumerate(joined.mlp)}
    means = mean_values(task, sites, prompts, over)  # type: ignore[arg-type]  # a Site is an AnySite
    return Recording(
        means[Site("embed")],
        tuple(means[Site("z", layer)] for layer in range(n_layers)),
        tuple(means[Site("mlp_out", layer)] for layer in range(len(joined.mlp))),
    )


def _widened(recording: Recording, n_pos: int) -> Recording:
    """One position's recording seen as wide as the prompts: only its shape matters."""
    return Recording(
        recording.embed.expand(-1, n_pos, -1),
        tuple(value.expand(-1, n_pos, -1, -1) for value in recording.z),
        tuple(value.expand(-1, n_pos, -1) for value in recording.mlp),
    )


def _columns(values: Float[Tensor, "circuit batch vocab"], metric: Metric) -> Float[Tensor, "circuit batch read"]:
    """The columns that a metric reads of the whole vocabulary at its position."""
    columns = metric.readout.columns
    if columns is None:
        return values
    columns = columns.to(values.device)
    return values.gather(-1, columns.clamp(min=0).expand(len(values), -1, -1)).masked_fill(columns < 0, 0.0)


def _working_size(model: Any) -> int:
    """Numbers that a token of a pass takes besides what is recorded, about."""
    cfg = model.cfg
    readers = int(cfg.n_heads) + 2 * int(cfg.n_key_value_heads or cfg.n_heads)
    return (3 + LAYERS_AHEAD) * readers * int(cfg.d_model) + 4 * int(cfg.d_mlp or 0)
