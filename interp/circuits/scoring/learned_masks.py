"""What masks are trained for: that a circuit does on the prompts what the whole model does."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interp.circuits.graph import Graph
from interp.circuits.masks import MaskRunner
from interp.circuits.scoring.batches import Scored, Settings
from interp.errors import InputError, unknown
from interp.tasks import PromptPairs

LOSSES = ("kl", "absolute")
MOST_PROMPTS = 16
"""Prompts of a training step unless batch_size says otherwise."""


class MaskedLoss:
    """How far runs under soft masks are from the model's own, on prompts drawn step by step.

    loss: "kl", KL(whole model || masked) in nats, or "absolute", |m(whole model) - m(masked)| of the task's metric.
    Edges outside the mask carry what the corrupt prompt gives. seed: of the prompts and of everything the masks draw.
    """

    def __init__(self, model: Any, task: PromptPairs, graph: Graph, settings: Settings, loss: str, seed: int) -> None:
        if loss not in LOSSES:
            raise unknown("loss", loss, LOSSES)
        if settings.at != "clean":
            raise InputError("masks are trained on the clean run with corrupt stand-ins; use at='clean'")
        self.loss = loss
        scored = task.with_metric("kl_to_clean", model=model) if loss == "kl" else task
        self.runner = MaskRunner(model, scored, graph, memory_budget=settings.memory_budget)
        self.n_prompts = min(settings.batch_size or MOST_PROMPTS, len(task))
        self.generator = torch.Generator().manual_seed(seed)
        self.rows, self.columns = graph.exists.nonzero().T
        self.whole = self.runner.untouched()

    @property
    def n_edges(self) -> int:
        """How many edges there are."""
        return len(self.rows)

    def __call__(self, edges: Float[Tensor, "mask edge"]) -> Float[Tensor, " mask"]:
        """The loss under masks of the edges that exist, on the next prompts; differentiable."""
        masks = edges.new_zeros(len(edges), *self.runner.graph.exists.shape)
        masks = masks.index_put((torch.arange(len(edges))[:, None], self.rows, self.columns), edges)
        drawn = torch.randperm(len(self.runner), generator=self.generator)[: self.n_prompts].sort().values
        found = self.runner.differentiable(masks, drawn)
        lost = found if self.loss == "kl" else (self.whole[drawn] - found).abs()
        return lost.mean(1)

    def uniform(self, n_masks: int) -> Float[Tensor, "mask edge"]:
        """Uniform random numbers for every edge of some masks, away from 0 and 1."""
        return torch.rand(n_masks, self.n_edges, generator=self.generator).clamp(1e-6, 1 - 1e-6)

    def scored(self, task: PromptPairs, edges: Float[Tensor, " edge"]) -> Scored:
        """A score of each edge in the shape of the graph, with the metric of both runs."""
        found = torch.zeros(1, *self.runner.graph.exists.shape)
        found[0, self.rows, self.columns] = edges.detach().float()
        plain = MaskRunner(self.runner.model, task, self.runner.graph)
        corrupt = plain.metric(torch.zeros_like(self.runner.graph.exists)[None])[0]
        return Scored(found, plain.untouched(), corrupt, self.n_prompts)


def check_training(n_steps: int, learning_rate: float) -> None:
    """Refuse what trains nothing."""
    if n_steps < 1 or not learning_rate > 0:
        raise InputError(
            f"training takes at least one step and a positive learning rate, not {n_steps} and {learning_rate}"
        )
