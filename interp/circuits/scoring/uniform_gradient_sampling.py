"""Uniform gradient sampling: the probability that an edge is kept, moved by what the edge is worth in random circuits.

Li and Janson 2024, "Optimal ablation for interpretability", on circuit discovery (UGS and its appendix).
Every edge has a probability θ of being kept. In each circuit that is drawn an edge is partly kept, by a uniform α, with
probability θ(1 - θ), and otherwise kept or not, such that it is kept θ of the time on average. Since

    E over uniform α of ∂L/∂α  =  L(kept) - L(removed),

the gradient at partly kept edges, over the probability of being one, estimates what the edge is worth among all
circuits that are likely now; a saturated part shows, because α goes all the way. L is the loss plus a price per edge.
Here removed edges carry what the corrupt prompt gives (the paper's optimal constants are left out).

The score is θ after training.
"""

from __future__ import annotations

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
MEANING = "probability that the edge is kept"
OPTIONS: dict[str, Any] = {"price": 1e-3, "n_steps": 300, "learning_rate": 0.1, "n_masks": 8, "loss": "kl", "seed": 0}
"""price: of keeping an edge, in the unit of the loss, larger for smaller circuits; n_steps, learning_rate: of the
training; n_masks: circuits drawn a step; loss: see `MaskedLoss`; seed: of all that is drawn."""

LARGEST_STEP = 5.0
"""The norm at which gradients are cut."""


def scores(model: Any, task: PromptPairs, graph: Graph, settings: Settings) -> Iterator[Scored]:
    """A forward and a backward pass of `n_masks` circuits a step."""
    options = OPTIONS | dict(settings.options)
    check_training(options["n_steps"], options["learning_rate"])
    if not options["price"] > 0:
        raise InputError(f"price is what keeping an edge costs, a number above 0, not {options['price']}")
    loss = MaskedLoss(model, task, graph, settings, options["loss"], options["seed"])
    yield loss.scored(task, _trained(loss, options).sigmoid())


def _trained(loss: MaskedLoss, options: dict[str, Any]) -> Float[Tensor, " edge"]:
    """The logits of θ after training."""
    logits = torch.ones(loss.n_edges, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=options["learning_rate"])
    for _ in progress(range(options["n_steps"]), "training edge probabilities"):
        kept = logits.sigmoid()
        masks = partly_kept(kept, loss.uniform(options["n_masks"]))
        total = loss(masks).mean() + options["price"] * kept.sum()
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_([logits], LARGEST_STEP)
        optimizer.step()
    return logits.detach()


def partly_kept(kept: Float[Tensor, " edge"], uniform: Float[Tensor, "mask edge"]) -> Float[Tensor, "mask edge"]:
    """Masks drawn for the probabilities `kept`: uniform in a window of width θ(1 - θ) around θ, else 0 or 1.

    The gradient through a partly kept edge is divided by the window, and there is none through the others.
    """
    window = (kept * (1 - kept)).detach().clamp(min=1e-4)
    return (0.5 - (uniform - kept) / window).clamp(0, 1)
