"""Measuring circuits: the task's metric and the distance from the whole model, for each prompt, each circuit once.

Faithfulness is (m(C) - m(empty)) / (m(M) - m(empty)), of means over prompts, with C run as the ablation tuple says:
1 for the whole graph M, 0 for no edge. It is no percentage: circuits without a model's negative heads exceed 1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.circuits.circuit import Circuit
from interp.circuits.graph import Graph
from interp.circuits.masks import MaskRunner
from interp.circuits.task_checks import check_numbers, check_task
from interp.errors import InputError
from interp.patching.outcome import SMALLEST_DIFFERENCE
from interp.runs import progress
from interp.tasks import PromptPairs
from interp.tasks.metrics import kl_to_clean

TIE = 1e-5
"""Two metrics closer than this share of m(M) - m(empty) are equal: folding a batch moves logits by as much."""


@dataclass(frozen=True, eq=False)
class Measured:
    """metric: of each circuit and prompt; kl: KL divergence of its next token from the clean run's, in nats."""

    metric: Float[Tensor, "circuit example"]
    kl: Float[Tensor, "circuit example"]


class Judge:
    """Runs circuits of one model on one task under one ablation, and remembers what they scored.

    Parameters as for `MaskRunner`. Raises InputError for tasks that nothing can be judged with: one pair, equal
    prompts, another tokenizer, metrics that are not numbers, or no difference between the model and the empty circuit.
    """

    def __init__(self, model: Any, task: PromptPairs, graph: Graph | None = None, **options: Any) -> None:
        check_task(model, task, gradients=False)
        if task.metric.readout.positions.shape[1] != 1:
            raise InputError(f"{task.metric.name} reads several positions; judge circuits by a metric that reads one")
        self.model, self.task = model, task
        # One run gives both numbers: the metric's columns are among the vocabulary that the distance needs.
        distance = kl_to_clean(model, task, position=task.metric.position)
        self.runner = MaskRunner(model, task.with_metric(distance), graph, **options)
        self.graph = self.runner.graph
        self._metrics = [task.metric, distance]
        self._known: dict[bytes, tuple[Tensor, Tensor]] = {}
        ends = self.measure([Circuit.full(self.graph), Circuit.empty(self.graph)])
        check_numbers(ends.metric, f"{task.metric.name} of the whole model or the empty circuit")
        self.whole, self.empty = ends.metric
        self.kl_of_empty = ends.kl[1]
        size = float(ends.metric.abs().mean(1).max())
        if abs(self.difference) <= SMALLEST_DIFFERENCE * max(size, 1e-12):
            raise InputError(
                f"m(model) - m(empty circuit) is {self.difference:.3g}, near zero beside {size:.3g}: there is nothing "
                "for a circuit to explain; choose prompts or a metric that the ablation changes"
            )

    @property
    def difference(self) -> float:
        """m(M) - m(empty), mean over prompts: what a circuit is to explain."""
        return float(self.whole.mean() - self.empty.mean())

    def measure(self, circuits: Sequence[Circuit], what: str = "running circuits") -> Measured:
        """Metric and distance of circuits, those not yet known in few passes. Raises InputError for another model's."""
        masks = self.runner.masks_of(circuits)
        keys = [hashlib.sha256(mask.numpy().tobytes()).digest() for mask in masks]
        new = list({key: i for i, key in enumerate(keys) if key not in self._known}.values())
        if new:
            with progress(len(new) * len(self.task), f"{what} ({len(new)})") as bar:
                values = self.runner.measured(self._left_alone(masks[new]), self._metrics, bar.advance)
            values = values.cpu()
            check_numbers(values[0], f"{self.task.metric.name} of a circuit")
            for place, metric, distance in zip(new, *values):
                self._known[keys[place]] = (metric, distance)
        found = [self._known[key] for key in keys]
        return Measured(torch.stack([metric for metric, _ in found]), torch.stack([kl for _, kl in found]))

    def faithfulness(self, metric: Float[Tensor, "*circuit example"]) -> Float[Tensor, "*circuit"]:
        """(m(C) - m(empty)) / (m(M) - m(empty)), of means over prompts."""
        return (metric.mean(-1) - self.empty.mean()) / self.difference

    def faithfulness_interval(
        self, metric: Float[Tensor, "circuit example"], level: float = 0.95, n_resamples: int = 1000, seed: int = 0
    ) -> tuple[Float[Tensor, " circuit"], Float[Tensor, " circuit"]]:
        """Percentile bootstrap over prompts of the whole ratio, its denominator included."""
        generator = torch.Generator().manual_seed(seed)
        rows = torch.randint(len(self.whole), (n_resamples, len(self.whole)), generator=generator)
        empty, whole = self.empty[rows].mean(1), self.whole[rows].mean(1)
        ratios = (metric[:, rows].mean(2) - empty) / (whole - empty)
        low, high = ratios.quantile(torch.tensor([(1 - level) / 2, (1 + level) / 2]), dim=1)
        return low, high

    def unfaithfulness(self, metric: Float[Tensor, "*circuit example"]) -> Float[Tensor, "*circuit"]:
        """Mean over prompts of |m(C) - m(M)|, over |m(M) - m(empty)|: errors of single prompts cannot cancel."""
        return (metric - self.whole).abs().mean(-1) / abs(self.difference)

    def _left_alone(self, masks: Bool[Tensor, "circuit writers readers"]) -> Bool[Tensor, "circuit writers readers"]:
        """The edges that a run leaves as they are: those of the circuit, or (denoising) all others."""
        return masks if self.runner.direction == "noise" else self.graph.exists & ~masks
