"""What a model makes of reconstructions: loss and predictions with the dictionary's output in place of activations.

    recovered = (CE with ablation − CE with reconstruction) / (CE with ablation − CE of the whole model)

against two ablations of the same tokens: zero, and the mean of the activations (the stricter one, since a model that is
given zeros fails for want of a mean as well).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.hooks.capturing import capture
from interp.hooks.intervening import intervene
from interp.hooks.interventions import patch
from interp.hooks.sites import Site
from saes.activations.keeping import ordinary
from saes.architectures import Dictionary

RUNS = ("whole", "reconstruction", "zero", "mean")


@torch.no_grad()
def losses_with(
    model: Any,
    dictionary: Dictionary,
    site: Site,
    tokens: Int[Tensor, "batch pos"],
    mean: Float[Tensor, " d_in"],
    excluded: Sequence[int] = (),
) -> tuple[Float[Tensor, "run batch"], Float[Tensor, " batch"]]:
    """Cross-entropy of the tokens that follow replaced ones, for each of `RUNS`, and KL of whole from reconstruction.

    Means over each prompt's tokens, in nats. Tokens in first place, outliers and `excluded` ids stay as they are.
    """
    acts = capture(model, tokens, site)[site].float()
    replaced = ordinary(acts, tokens, excluded=excluded)
    given = {
        "reconstruction": dictionary(acts).reconstruction,
        "zero": torch.zeros_like(acts),
        "mean": mean.to(acts).expand_as(acts),
    }
    whole = _log_probabilities(model, tokens)
    losses, kl = [_loss(whole, tokens, replaced)], torch.zeros(len(tokens))
    for name in RUNS[1:]:
        with intervene(model, patch(site, torch.where(replaced[..., None], given[name], acts))):
            changed = _log_probabilities(model, tokens)
        losses.append(_loss(changed, tokens, replaced))
        if name == "reconstruction":
            kl = _mean((whole.exp() * (whole - changed)).sum(-1), replaced[:, :-1]).cpu()
    return torch.stack(losses).cpu(), kl


def _log_probabilities(model: Any, tokens: Tensor) -> Float[Tensor, "batch before vocab"]:
    return model(tokens)[:, :-1].float().log_softmax(-1)


def _loss(log_probabilities: Tensor, tokens: Tensor, replaced: Bool[Tensor, "batch pos"]) -> Float[Tensor, " batch"]:
    picked = log_probabilities.gather(-1, tokens[:, 1:, None].to(log_probabilities.device)).squeeze(-1)
    return _mean(-picked, replaced[:, :-1])


def _mean(values: Float[Tensor, "batch before"], counted: Bool[Tensor, "batch before"]) -> Float[Tensor, " batch"]:
    return (values * counted).sum(1) / counted.sum(1).clamp_min(1)


def recovered(losses: Float[Tensor, "run *batch"], ablation: str) -> Float[Tensor, "*batch"]:
    """The share of the loss that the reconstruction saves of what an ablation, zero or mean, costs."""
    ablated = losses[RUNS.index(ablation)]
    return (ablated - losses[1]) / (ablated - losses[0])
