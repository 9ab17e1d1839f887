"""Probes of two layers: low-rank ones, whose first layer is linear, and small perceptrons.

Low rank: logits are B A x + b with `rank` rows in A. The penalty l2 / 2 * (|A|^2 + |B|^2) is at its least l2 times the
sum of the singular values of B A (Srebro et al. 2004), so it asks for a low rank by itself. Perceptron: B gelu(A x + a)
+ b, as in Hewitt & Liang 2019 with a smooth activation. Neither problem is convex: what is found depends on the start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from interp.probing.solving.batched_lbfgs import DECREMENT, minimise
from interp.probing.solving.linear import Linear, backward, linear_logits
from interp.probing.solving.logistic import LEAST_CURVATURE, fit_logistic
from interp.probing.solving.softmax_problems import Problems, loss_and_slope, mean_variance

MAX_STEPS = 200
"""A perceptron is not followed to the bottom of a valley that generalises no better."""


@dataclass(eq=False)
class TwoLayers:
    """A fitted probe of two layers; without `inner_bias` its first layer is linear and has none."""

    inner: Float[Tensor, "site problem hidden feature"]
    inner_bias: Float[Tensor, "site problem hidden"] | None
    outer: Float[Tensor, "site problem column hidden"]
    bias: Float[Tensor, "site problem column"]
    converged: Bool[Tensor, "site problem"]

    def hidden(self, x: Float[Tensor, "site row feature"]) -> Float[Tensor, "site problem hidden row"]:
        """The first layer before its activation."""
        bias = self.inner.new_zeros(self.inner.shape[:3]) if self.inner_bias is None else self.inner_bias
        return linear_logits(x, self.inner, bias)

    def logits(self, x: Float[Tensor, "site row feature"]) -> Float[Tensor, "site problem column row"]:
        """Logits of every row in every problem."""
        hidden = self.hidden(x)
        active = hidden if self.inner_bias is None else functional.gelu(hidden)
        return self.outer @ active + self.bias[..., None]

    def flat(self) -> Float[Tensor, "site problem parameter"]:
        """All parameters of each problem in a row."""
        parts = [self.inner.flatten(2), self.outer.flatten(2), self.bias]
        return torch.cat(parts if self.inner_bias is None else [*parts, self.inner_bias], dim=2)

    def from_flat(self, theta: Float[Tensor, "site problem parameter"], converged: Tensor | None = None) -> TwoLayers:
        """A probe of this one's shape with other parameters."""
        n_hidden, n_columns = self.inner.shape[2], self.bias.shape[2]
        sizes = [n_hidden * self.inner.shape[3], n_columns * n_hidden, n_columns]
        sizes += [] if self.inner_bias is None else [n_hidden]
        inner, outer, bias, *inner_bias = theta.split(sizes, dim=2)
        return TwoLayers(
            inner.unflatten(2, (n_hidden, -1)),
            inner_bias[0] if inner_bias else None,
            outer.unflatten(2, (n_columns, -1)),
            bias,
            theta.new_zeros(theta.shape[:2], dtype=torch.bool) if converged is None else converged,
        )

    def linear(self) -> Linear:
        """The product of both layers, of a probe whose first one is linear."""
        return Linear(self.outer @ self.inner, self.bias, self.converged)


class TwoLayerObjective:
    """Loss, gradient and a diagonal preconditioner of every problem."""

    def __init__(self, problems: Problems, l2: Float[Tensor, "site problem"], start: TwoLayers, variance: Tensor):
        self.problems, self.l2, self.shape = problems, l2, start
        curvature = mean_variance(start.logits(problems.x), problems).clamp_min(LEAST_CURVATURE)
        sensitivity = (curvature[..., None] * start.outer.square()).sum(2)  # [site, problem, hidden]
        penalty = l2[..., None, None]
        inner = sensitivity[..., None] * variance[:, None, None] + penalty
        spread = start.hidden(problems.x).square().mean(-1)[:, :, None]
        outer = curvature[..., None] * spread + penalty
        inner_bias = None if start.inner_bias is None else sensitivity + l2[..., None] + LEAST_CURVATURE
        self.inverse = 1 / TwoLayers(inner, inner_bias, outer, curvature, start.converged).flat()

    def value_and_gradient(self, theta: Tensor, sites: Sequence[int]) -> tuple[Tensor, Tensor]:
        """See `batched_lbfgs.Objective`."""
        x, l2 = self.problems.x_of(sites), self.l2[list(sites)]
        now = self.shape.from_flat(theta)
        hidden = now.hidden(x)
        active = hidden if now.inner_bias is None else functional.gelu(hidden)
        loss, slope = loss_and_slope(now.outer @ active + now.bias[..., None], self.problems)
        by_outer = slope @ active.mT + l2[..., None, None] * now.outer
        by_hidden = now.outer.mT @ slope
        if now.inner_bias is not None:
            by_hidden = by_hidden * _gelu_slope(hidden)
        by_inner, by_inner_bias = backward(x, by_hidden)
        by_inner += l2[..., None, None] * now.inner
        squares = now.inner.square().sum((2, 3)) + now.outer.square().sum((2, 3))
        inner_bias = None if now.inner_bias is None else by_inner_bias
        gradient = TwoLayers(by_inner, inner_bias, by_outer, slope.sum(-1), now.converged).flat()
        return loss + l2 / 2 * squares, gradient

    def precondition(self, gradient: Tensor, sites: Sequence[int]) -> Tensor:
        """See `batched_lbfgs.Objective`."""
        return gradient * (self.inverse if len(sites) == len(self.inverse) else self.inverse[list(sites)])


def fit_low_rank(
    problems: Problems,
    l2: Float[Tensor, "site problem"],
    variance: Float[Tensor, "site feature"],
    rank: int,
    decrement: float = DECREMENT,
) -> TwoLayers:
    """A low-rank probe a problem, from the leading singular vectors of the logistic one of the same penalty."""
    full = fit_logistic(problems, l2, variance, decrement=max(decrement, 1e-6))
    left, values, right = torch.linalg.svd(full.weight, full_matrices=False)
    root = values[..., :rank].sqrt().clamp_min(1e-3)  # a factor of 0 has no slope to leave it by
    outer = left[..., :rank] * root[..., None, :]
    inner = right[..., :rank, :] * root[..., None]
    return _fitted(problems, l2, variance, TwoLayers(inner, None, outer, full.bias, full.converged), decrement)


def fit_perceptron(
    problems: Problems,
    l2: Float[Tensor, "site problem"],
    variance: Float[Tensor, "site feature"],
    hidden: int,
    seed: int,
    decrement: float = DECREMENT,
) -> TwoLayers:
    """A perceptron a problem, all from the same random start."""
    generator = torch.Generator().manual_seed(seed)
    n_features, n_columns = problems.x.shape[2], problems.n_columns
    scale = variance.sum(-1).clamp_min(1e-12).rsqrt()[:, None, None, None]  # hidden units begin with variance 1
    inner = torch.randn(hidden, n_features, generator=generator).to(problems.x) * scale
    outer = torch.randn(n_columns, hidden, generator=generator).to(problems.x) * (0.1 / hidden**0.5)
    shape = (len(problems.x), len(problems.labels))
    start = TwoLayers(
        inner.expand(*shape, -1, -1).contiguous(),
        problems.x.new_zeros(*shape, hidden),
        outer.expand(*shape, -1, -1).contiguous(),
        problems.x.new_zeros(*shape, n_columns),
        torch.zeros(shape, dtype=torch.bool, device=problems.x.device),
    )
    return _fitted(problems, l2, variance, start, decrement)


def _fitted(problems: Problems, l2: Tensor, variance: Tensor, start: TwoLayers, decrement: float) -> TwoLayers:
    objective = TwoLayerObjective(problems, l2, start, variance)
    theta, converged = minimise(objective, start.flat(), decrement, MAX_STEPS)
    return start.from_flat(theta, converged)


def _gelu_slope(x: Tensor) -> Tensor:
    return 0.5 * (1 + torch.erf(x / 2**0.5)) + x * torch.exp(-x.square() / 2) / (2 * torch.pi) ** 0.5
