"""Many smooth minimisations at once, by L-BFGS with a preconditioner (Nocedal & Wright 2006, sections 7.2 and 5.1).

All problems take their steps together, so that every step is a few large matrix products. A problem that has converged
stays where it is, and a site whose problems have all converged is no longer computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

MEMORY = 10
"""Pairs of steps and gradient changes that the approximation of the curvature remembers."""
DECREMENT = 1e-10
"""A problem has converged when a further step is expected to lower its objective by less than this."""
SUFFICIENT = 1e-4
"""Share of the expected decrease that a step must bring (Armijo)."""
NOISE = 5e-7
"""Relative error of a float32 objective, within which two values count as equal."""
MAX_HALVINGS = 40


@runtime_checkable
class Objective(Protocol):
    """What is minimised, for some of the sites at a time."""

    def value_and_gradient(
        self, theta: Float[Tensor, "site problem parameter"], sites: Sequence[int]
    ) -> tuple[Float[Tensor, "site problem"], Float[Tensor, "site problem parameter"]]:
        """Objective and gradient of every problem of these sites."""
        ...

    def precondition(
        self, gradient: Float[Tensor, "site problem parameter"], sites: Sequence[int]
    ) -> Float[Tensor, "site problem parameter"]:
        """The gradient times a positive definite guess of the inverse curvature."""
        ...


def minimise(
    objective: Objective,
    start: Float[Tensor, "site problem parameter"],
    decrement: float = DECREMENT,
    max_steps: int = 500,
) -> tuple[Float[Tensor, "site problem parameter"], Bool[Tensor, "site problem"]]:
    """The minimiser of every problem, and which of them converged within `max_steps`."""
    solution = start.clone()
    converged = torch.zeros(start.shape[:2], dtype=torch.bool, device=start.device)
    state = _State(objective, list(range(len(start))), start.clone(), decrement)
    for _ in range(max_steps):
        done = state.step()
        finished = done.all(1)
        if bool(finished.all()):
            break
        if int(finished.sum()) * 2 >= len(state.sites):  # copies of what is left are worth it now and then
            _keep(state, solution, converged, done)
            state = state.narrowed(~finished)
    _keep(state, solution, converged, state.done)
    return solution, converged


def _keep(state: _State, solution: Tensor, converged: Tensor, done: Tensor) -> None:
    solution[state.sites] = state.theta
    converged[state.sites] = done


class _State:
    """Where every problem of the sites still at work is, with its history."""

    def __init__(self, objective: Objective, sites: list[int], theta: Tensor, decrement: float) -> None:
        self.objective, self.sites, self.theta, self.decrement = objective, sites, theta, decrement
        self.value, self.gradient = objective.value_and_gradient(theta, sites)
        self.done = torch.zeros(theta.shape[:2], dtype=torch.bool, device=theta.device)
        self.steps: list[Tensor] = []
        self.changes: list[Tensor] = []

    def narrowed(self, keep: Bool[Tensor, " site"]) -> _State:
        """The state of some of the sites."""
        new = object.__new__(_State)
        new.objective, new.decrement = self.objective, self.decrement
        new.sites = [site for site, kept in zip(self.sites, keep.tolist()) if kept]
        for name in ("theta", "value", "gradient", "done"):
            setattr(new, name, getattr(self, name)[keep])
        new.steps = [item[keep] for item in self.steps]
        new.changes = [item[keep] for item in self.changes]
        return new

    def step(self) -> Bool[Tensor, "site problem"]:
        """One step of every problem that has not converged; returns which have."""
        direction = -self._inverse_curvature_times(self.gradient)
        slope = _dot(self.gradient, direction)
        uphill = slope >= 0  # rounding has spoilt the history of this problem: a plain step is always downhill
        if bool(uphill.any()):
            plain = -self.objective.precondition(self.gradient, self.sites)
            direction = torch.where(uphill[..., None], plain, direction)
            slope = _dot(self.gradient, direction)
        self.done |= -slope / 2 < self.decrement
        if bool(self.done.all()):
            return self.done
        self._search(direction.masked_fill_(self.done[..., None], 0), slope)
        return self.done

    def _search(self, direction: Tensor, slope: Tensor) -> None:
        """Go along the direction, half as far until the objective falls enough."""
        length = torch.ones_like(slope)
        slack = NOISE * self.value.abs().clamp_min(1)
        for _ in range(MAX_HALVINGS):
            new = self.theta + length[..., None] * direction
            value, gradient = self.objective.value_and_gradient(new, self.sites)
            enough = (value <= self.value + SUFFICIENT * length * slope + slack) | self.done
            if bool(enough.all()):
                break
            length = torch.where(enough, length, length / 2)
        else:  # no progress within rounding: such a problem is as good as it gets
            self.done |= ~enough
            stay = self.done[..., None]
            new, gradient = torch.where(stay, self.theta, new), torch.where(stay, self.gradient, gradient)
            value = torch.where(self.done, self.value, value)
        self.steps.append(new - self.theta)
        self.changes.append(gradient - self.gradient)
        del self.steps[:-MEMORY], self.changes[:-MEMORY]
        self.theta, self.value, self.gradient = new, value, gradient

    def _inverse_curvature_times(self, gradient: Tensor) -> Tensor:
        """The two-loop recursion, with pairs left out where the curvature was not positive."""
        left = gradient.clone()
        past = []
        for step, change in zip(reversed(self.steps), reversed(self.changes)):
            curvature = _dot(step, change)
            usable = curvature > 1e-10 * step.norm(dim=-1) * change.norm(dim=-1)
            inverse = torch.where(usable, 1 / curvature.where(usable, torch.ones_like(curvature)), 0)
            along = inverse * _dot(step, left)
            left -= along[..., None] * change
            past.append((step, change, inverse, along))
        result = self.objective.precondition(left, self.sites)
        if past:
            result *= self._scale(past[0])[..., None]
        for step, change, inverse, along in reversed(past):
            result += (along - inverse * _dot(change, result))[..., None] * step
        return result

    def _scale(self, newest: tuple[Tensor, Tensor, Tensor, Tensor]) -> Tensor:
        """How much the guess of the inverse curvature is too small, by the newest pair."""
        _, change, inverse, _ = newest
        predicted = _dot(change, self.objective.precondition(change, self.sites))
        usable = (inverse > 0) & (predicted > 0)
        return torch.where(usable, 1 / (inverse * predicted).where(usable, torch.ones_like(predicted)), 1)


def _dot(a: Float[Tensor, "site problem parameter"], b: Float[Tensor, "site problem parameter"]) -> Tensor:
    return (a * b).sum(-1)
