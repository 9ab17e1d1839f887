"""The loop: many models with their own settings and seeds, trained as one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import InputError
from interp.runs import progress
from interp.superposition.architectures import Architecture
from interp.superposition.sampling import Draws, Source

REPORT_EVERY = 50


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train."""

    n_steps: int = 3000
    """Steps of Adam."""
    batch_size: int = 256
    """Inputs a step, for each model."""
    learning_rate: float = 5e-3
    """At the start; it falls to 0 as half a cosine."""
    n_test: int = 131_072
    """Fresh inputs on which the losses are measured at the end, where they are not exact."""

    def __post_init__(self) -> None:
        if self.n_steps < 1:
            raise InputError(f"n_steps is {self.n_steps}, and untrained models show nothing; use 1000 or more")
        if self.batch_size < 1 or self.n_test < 1:
            raise InputError("batch_size and n_test are at least 1")
        if not 0 < self.learning_rate < math.inf:
            raise InputError(f"the learning rate must be above 0, not {self.learning_rate}")

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * step / self.n_steps))


@dataclass(frozen=True, eq=False)
class Trained:
    """weights: each [setting, seed, ...]. errors [setting, seed, feature]: mean squared errors on fresh inputs, before
    importance. loss [setting, seed]: their sum weighted by importance. standard_error [setting, seed]: of the loss,
    for the inputs it is measured on; 0 where it is exact.
    """

    weights: dict[str, Tensor]
    errors: Float[Tensor, "setting seed feature"]
    loss: Float[Tensor, "setting seed"]
    standard_error: Float[Tensor, "setting seed"]


def optimise(
    kind: Architecture,
    source: Source,
    importance: Float[Tensor, "setting feature"],
    n_hidden: int,
    seeds: Sequence[int],
    schedule: Schedule,
    description: str,
    test: Source | None = None,
    starts: Mapping[str, Tensor] | None = None,
) -> Trained:
    """Train a model for every setting and every seed.

    test: where the losses at the end are measured, if not on the source. starts: the weights to begin with, each
    [setting, seed, ...]; without them models of one seed begin with the same weights whatever their setting. The
    loss is the expected sum over features of importance times squared error. Models do not influence each other:
    Adam works number by number, and every model has its own gradient.
    """
    device = importance.device
    n_settings, n_features = importance.shape
    generators = [torch.Generator(device).manual_seed(2 * seed) for seed in seeds]
    if starts is None:
        made = stacked([kind.start(n_features, n_hidden, generator) for generator in generators])
        starts = {name: weight[None].repeat_interleave(n_settings, 0) for name, weight in made.items()}
    weights = {name: weight.to(device).requires_grad_() for name, weight in starts.items()}
    optimiser = torch.optim.Adam(list(weights.values()), lr=schedule.learning_rate, fused=True)
    with progress(schedule.n_steps, description) as bar:
        for step in range(schedule.n_steps):
            optimiser.param_groups[0]["lr"] = schedule.rate(step)
            batch = source.batch(generators, schedule.batch_size)
            squares = _mean(_squares(kind, weights, batch.x), batch.weight)
            optimiser.zero_grad(set_to_none=True)
            (squares * importance[:, None]).sum().backward()
            optimiser.step()
            if (step + 1) % REPORT_EVERY == 0 or step + 1 == schedule.n_steps:
                bar.advance(step % REPORT_EVERY + 1)
    trained = {name: weight.detach() for name, weight in weights.items()}
    errors, deviation = _tested(kind, trained, importance, test or source, seeds, schedule)
    return Trained(trained, errors, (errors * importance[:, None]).sum(-1), deviation)


def stacked(starts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Weights of several models by name, one model after another along the first axis."""
    return {name: torch.stack([start[name] for start in starts]) for name in starts[0]}


def _squares(kind: Architecture, weights: Mapping[str, Tensor], x: Tensor) -> Float[Tensor, "setting seed x feature"]:
    """The squared errors on every input."""
    return (kind.forward(weights, x) - kind.target(x)).square()


def _mean(
    squares: Float[Tensor, "setting seed x feature"], weight: Float[Tensor, "#setting #seed x"] | None
) -> Float[Tensor, "setting seed feature"]:
    """The mean over inputs, weighted where they are not alike."""
    return squares.mean(-2) if weight is None else (squares * weight[..., None]).sum(-2)


@torch.no_grad()
def _tested(
    kind: Architecture,
    weights: Mapping[str, Tensor],
    importance: Float[Tensor, "setting feature"],
    source: Source,
    seeds: Sequence[int],
    schedule: Schedule,
) -> tuple[Float[Tensor, "setting seed feature"], Float[Tensor, "setting seed"]]:
    """Mean squared errors on inputs that training never saw, in parts of the size of a batch, and the standard error
    of their sum weighted by importance.
    """
    device, size = source.density.device, schedule.batch_size
    generators = [torch.Generator(device).manual_seed(2 * seed + 1) for seed in seeds]
    if not isinstance(source, Draws):
        batch = source.batch(generators, size)
        errors = _mean(_squares(kind, weights, batch.x), batch.weight)
        return errors, torch.zeros_like(errors[..., 0])
    n_parts = max(1, schedule.n_test // size)
    total, losses, squared_losses = torch.zeros(3, 1, device=device, dtype=torch.float64)
    for _ in range(n_parts):
        squares = _squares(kind, weights, source.batch(generators, size).x)
        loss = (squares @ importance[:, None, :, None]).squeeze(-1).double()
        total, losses = total + squares.mean(-2), losses + loss.sum(-1)
        squared_losses = squared_losses + loss.square().sum(-1)
    n = n_parts * size
    spread = (squared_losses / n - (losses / n).square()).clamp_min(0) / max(1, n - 1)
    return (total / n_parts).to(importance), spread.sqrt().to(importance)
