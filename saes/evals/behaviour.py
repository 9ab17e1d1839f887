"""What a model makes of reconstructions: loss and predictions with the dictionary's output in place of activations.

    recovered = (CE with ablation − CE with reconstruction) / (CE with ablation − CE of the whole model)

against two ablations of the same tokens: zero, and the mean of the activations (the stricter one, since a model that is
given zeros fails for want of a mean as well). Cross-entropies are means over all tokens; the ratio is taken once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.hooks import partial
from interp.hooks.capturing import capture
from interp.hooks.sites import Site, hook_point, resid_pre
from interp.results import FEWEST, range_of_draws
from saes.activations.keeping import ordinary

RUNS = ("whole", "reconstruction", "zero", "mean")
DRAWS = 1000
"""Resamples of prompts behind an interval."""


class Seen(NamedTuple):
    """What the model makes of something put at the site: cross-entropy of the tokens that follow a replaced one, and KL
    of the whole model's predictions from these, means over each prompt's tokens, in nats."""

    loss: Float[Tensor, " batch"]
    kl: Float[Tensor, " batch"]


class Passages:
    """Some prompts on their way through a model, up to the block of a site once and from there on as often as asked.

    activations [batch, pos, d_in]: at the site. replaced [batch, pos]: tokens whose activations are put in; those in
    first place, outliers and `excluded` ids stay as they are. loss [batch]: of the whole model.
    """

    @torch.no_grad()
    def __init__(self, model: Any, site: Site, tokens: Int[Tensor, "batch pos"], excluded: Sequence[int] = ()) -> None:
        self.model, self.site, self.tokens = model, site, tokens
        self._start = site.layer or 0
        before = resid_pre(self._start)
        acts = capture(model, tokens, [site, before] if self._start else [site])
        self._entering = acts[before] if self._start else tokens
        self._original = acts[site]
        # Heads lie side by side, as they do in training.
        self.activations: Float[Tensor, "batch pos d_in"] = self._original.float().flatten(2)
        self.replaced: Bool[Tensor, "batch pos"] = ordinary(self.activations, tokens, excluded=excluded)

    @property
    def kept(self) -> Float[Tensor, "tokens d_in"]:
        """The activations of the tokens that count."""
        return self.activations[self.replaced]

    @torch.no_grad()
    def begin(self) -> Float[Tensor, " batch"]:
        """Run the whole model, which the others are compared with; returns its loss."""
        self._whole = self._predict()
        return self._loss(self._whole)

    @torch.no_grad()
    def seen(self, given: Float[Tensor, "#batch #pos d_in"]) -> Seen:
        """Run the model with other activations at the replaced tokens; `begin` has to come first."""
        put = torch.where(self.replaced[..., None], given.to(self._original), self._original.flatten(2))
        put = put.view(self._original.shape)
        with partial.hooked(hook_point(self.model, self.site), lambda value: put):
            changed = self._predict()
        apart = (self._whole.exp() * (self._whole - changed)).sum(-1)
        return Seen(self._loss(changed), self._mean(apart))

    def _predict(self) -> Float[Tensor, "batch before vocab"]:
        return partial.run(self.model, self._entering, start=self._start)[:, :-1].float().log_softmax(-1)

    def _loss(self, log_probabilities: Tensor) -> Float[Tensor, " batch"]:
        following = self.tokens[:, 1:, None].to(log_probabilities.device)
        return self._mean(-log_probabilities.gather(-1, following).squeeze(-1))

    def _mean(self, values: Float[Tensor, "batch before"]) -> Float[Tensor, " batch"]:
        counted = self.replaced[:, :-1].to(values.device)
        return ((values * counted).sum(1) / counted.sum(1).clamp_min(1)).cpu()


def recovered(losses: Float[Tensor, "run *rest"], ablation: str) -> Float[Tensor, "*rest"]:
    """The share of what an ablation, zero or mean, costs that the reconstruction saves."""
    ablated = losses[RUNS.index(ablation)]
    return (ablated - losses[1]) / (ablated - losses[0])


FROM_RUNS = ("ce_recovered_zero", "ce_recovered_mean", "ce_increase", "kl")
"""Measures of what the model makes of reconstructions, with intervals over prompts."""


def run_measures(losses: Float[Tensor, "run *rest"], kl: Float[Tensor, "*rest"]) -> Float[Tensor, "4 *rest"]:
    """`FROM_RUNS`, of mean losses."""
    return torch.stack([recovered(losses, "zero"), recovered(losses, "mean"), losses[1] - losses[0], kl])


def run_intervals(
    losses: Float[Tensor, "run example"], kl: Float[Tensor, " example"], seed: int = 0
) -> tuple[Float[Tensor, " 4"], Float[Tensor, " 4"]]:
    """95 % bootstrap intervals of `FROM_RUNS` over prompts, which are resampled for all runs together."""
    n = losses.shape[1]
    rows = torch.randint(n, (DRAWS, n), generator=torch.Generator().manual_seed(seed))
    if n < FEWEST:
        return torch.full((4,), float("nan")), torch.full((4,), float("nan"))
    return range_of_draws(run_measures(losses[:, rows].mean(-1), kl[rows].mean(-1)).T)
