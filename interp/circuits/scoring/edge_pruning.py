"""Edge pruning: a gate on every edge, trained to be open or shut, with a given number left open.

Bhaskar, Wettig, Friedman and Chen 2024, "Finding Transformer Circuits with Edge Pruning", section 3: gates are
hard-concrete (Louizos, Welling and Kingma 2018, "Learning Sparse Neural Networks through L0 Regularization", section
2.2), edges that are shut carry what the corrupt prompt gives, and a Lagrangian whose multipliers are trained by
gradient ascent holds the expected share of open gates to a target that is approached linearly. Edges only: the paper's
additional gates on whole nodes are left out.

The score is the probability that an edge's gate is open at all. It ranks edges for circuits near the size that was
trained for; masks for another size are trained anew (`target=`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interp.circuits.graph import Graph
from interp.circuits.scoring.batches import Scored, Settings
from interp.circuits.scoring.learned_masks import MaskedLoss, check_training
from interp.errors import InputError
from interp.runs import progress
from interp.tasks import PromptPairs

BY_PROMPT = False
UNIT = "probability"
MEANING = "probability that the gate of the edge is open"
OPTIONS: dict[str, Any] = {"target": None, "n_steps": 300, "learning_rate": 0.3, "n_masks": 4, "loss": "kl", "seed": 0}
"""target: how many edges to leave open (None: a tenth); n_steps, learning_rate: of the training; n_masks: gates drawn
a step; loss: see `MaskedLoss`; seed: of all that is drawn."""

SHARPNESS, LOW, HIGH = 2 / 3, -0.1, 1.1
"""Of the hard-concrete distribution: β, γ and ζ."""
RAMP = 0.7
"""The part of the training in which the target share is approached."""


def scores(model: Any, task: PromptPairs, graph: Graph, settings: Settings) -> Iterator[Scored]:
    """A forward and a backward pass of `n_masks` circuits a step."""
    options = OPTIONS | dict(settings.options)
    target = _target(graph, options["target"])
    check_training(options["n_steps"], options["learning_rate"])
    loss = MaskedLoss(model, task, graph, settings, options["loss"], options["seed"])
    yield loss.scored(task, open_probability(_trained(loss, target, options)))


def _trained(loss: MaskedLoss, target: float, options: dict[str, Any]) -> Float[Tensor, " edge"]:
    """The logits of the gates after training. target: the share of gates to be left open."""
    logits = torch.full((loss.n_edges,), 2.0, requires_grad=True)
    prices = torch.zeros(2, requires_grad=True)
    rate, n_steps = options["learning_rate"], options["n_steps"]
    gates = torch.optim.Adam([logits], lr=rate)
    market = torch.optim.Adam([prices], lr=rate, maximize=True)
    for step in progress(range(n_steps), "training gates"):
        wanted = 1 - (1 - target) * min(1.0, (step + 1) / (RAMP * n_steps))
        excess = open_probability(logits).mean() - wanted
        total = loss(hard_concrete(logits, loss.uniform(options["n_masks"]))).mean()
        total = total + prices[0] * excess + prices[1] * excess.square()
        for optimizer in (gates, market):
            optimizer.zero_grad()
        total.backward()
        for optimizer in (gates, market):
            optimizer.step()
    return logits.detach()


def hard_concrete(logits: Float[Tensor, " edge"], uniform: Float[Tensor, "mask edge"]) -> Float[Tensor, "mask edge"]:
    """Gates in [0, 1], often exactly 0 or 1, from uniform numbers."""
    noise = uniform.log() - (-uniform).log1p()
    return ((((noise + logits) / SHARPNESS).sigmoid()) * (HIGH - LOW) + LOW).clamp(0, 1)


def open_probability(logits: Float[Tensor, " edge"]) -> Float[Tensor, " edge"]:
    """The probability that a gate is not exactly 0."""
    return (logits - SHARPNESS * math.log(-LOW / HIGH)).sigmoid()


def _target(graph: Graph, n_edges: int | None) -> float:
    if n_edges is None:
        return 0.1
    if not 1 <= n_edges <= graph.n_edges:
        raise InputError(f"target={n_edges} of {graph.n_edges} edges; choose a number from 1 to {graph.n_edges}")
    return n_edges / graph.n_edges
