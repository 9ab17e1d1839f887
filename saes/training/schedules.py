"""Schedules: the learning rate, the weight of sparsity and k, as functions of the step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from interp.errors import InputError, unknown
from saes.plain_values import check_values

DECAYS = ("linear", "cosine", "none")


@dataclass(frozen=True)
class Schedule:
    """How strongly each step pulls. All shares are of the whole training."""

    lr: float = 2e-3
    """Learning rate after warming up."""
    warm_up: float = 0.02
    """Share of the steps over which the learning rate rises from zero."""
    decay: str = "linear"
    """How it falls at the end: linear, cosine or none."""
    decay_share: float = 0.2
    """Share of the steps over which it falls to zero."""
    sparsity_warm_up: float = 0.1
    """Share of the steps over which the sparsity loss of Standard and JumpReLU rises from zero."""
    k_start: int | None = None
    """Active latents of TopK and its kin at the first step; falls to k linearly (None: k throughout)."""
    k_share: float = 0.2
    """Share of the steps over which it falls."""
    resample_every: int = 0
    """Steps between two resamplings of dead latents (0: never)."""
    resample_share: float = 0.5
    """Share of the steps, from the first on, in which that happens."""

    def __post_init__(self) -> None:
        if self.decay not in DECAYS:
            raise unknown("decay", self.decay, DECAYS)
        check_values(self, least={"k_start": 1, "resample_every": 0}, above={"lr": 0})
        for name in ("warm_up", "decay_share", "sparsity_warm_up", "k_share", "resample_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is a share of the training, from 0 to 1, not {getattr(self, name)}")
        if self.warm_up + (self.decay_share if self.decay != "none" else 0) > 1:
            raise InputError("warm_up and decay_share together are more than the whole training")

    def lr_at(self, step: int, n_steps: int) -> float:
        """The learning rate of a step, counted from 0."""
        rising = self.warm_up * n_steps
        if step < rising:
            return self.lr * (step + 1) / (rising + 1)
        falling = self.decay_share * n_steps
        left = n_steps - step
        if self.decay == "none" or left > falling:
            return self.lr
        share = left / (falling + 1)
        return self.lr * (share if self.decay == "linear" else 0.5 * (1 - math.cos(math.pi * share)))

    def sparsity_at(self, step: int, n_steps: int) -> float:
        """Factor on the sparsity loss."""
        rising = self.sparsity_warm_up * n_steps
        return min(1.0, (step + 1) / (rising + 1))

    def resamples_at(self, step: int, n_steps: int) -> bool:
        """Whether dead latents start anew after a step, counted from 0."""
        due = self.resample_every > 0 and (step + 1) % self.resample_every == 0
        return due and step < self.resample_share * n_steps

    def k_at(self, step: int, n_steps: int, k: int) -> int:
        """Active latents."""
        falling = self.k_share * n_steps
        if self.k_start is None or step >= falling:
            return k
        return round(self.k_start + (k - self.k_start) * step / falling)
