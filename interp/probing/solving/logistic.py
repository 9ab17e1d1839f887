"""Logistic regression, multinomial for more than two classes, with an L2 penalty on the weights.

Minimises mean cross-entropy + l2 / 2 * |W|^2 over the rows of each problem, bias unpenalised: scikit-learn's
`LogisticRegression(C=1 / (n * l2))`. All sites and problems are solved together, by L-BFGS that begins with the
curvature which the loss has at the start, in coordinates where it is nearly diagonal (`decorrelating`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from interp.probing.solving.batched_lbfgs import DECREMENT, minimise
from interp.probing.solving.linear import Linear, backward, linear_logits
from interp.probing.solving.softmax_problems import Problems, loss_and_slope, mean_variance

LEAST_CURVATURE = 1e-3
"""Of a column: rare classes hardly bend the loss, and a step may not be endless."""


class LogisticObjective:
    """Loss, gradient and preconditioner of every problem; parameters are the weights, then the bias."""

    def __init__(self, problems: Problems, l2: Float[Tensor, "site problem"], theta: Tensor, variance: Tensor) -> None:
        self.problems, self.l2 = problems, l2
        weight, bias = self.split(theta)
        curvature = mean_variance(linear_logits(problems.x, weight, bias), problems).clamp_min(LEAST_CURVATURE)
        bend = curvature[..., None] * variance[:, None, None] + l2[:, :, None, None]
        self.inverse = torch.cat([1 / bend.flatten(2), 1 / curvature], dim=2)

    def split(self, theta: Float[Tensor, "site problem parameter"]) -> tuple[Tensor, Tensor]:
        """Weights [site, problem, column, feature] and bias [site, problem, column]."""
        n_columns = self.problems.n_columns
        return theta[..., :-n_columns].unflatten(2, (n_columns, -1)), theta[..., -n_columns:]

    def value_and_gradient(self, theta: Tensor, sites: Sequence[int]) -> tuple[Tensor, Tensor]:
        """See `batched_lbfgs.Objective`."""
        x, l2 = self.problems.x_of(sites), self.l2[list(sites)]
        weight, bias = self.split(theta)
        loss, slope = loss_and_slope(linear_logits(x, weight, bias), self.problems)
        by_weight, by_bias = backward(x, slope)
        by_weight += l2[..., None, None] * weight
        return loss + l2 / 2 * weight.square().sum((2, 3)), torch.cat([by_weight.flatten(2), by_bias], dim=2)

    def precondition(self, gradient: Tensor, sites: Sequence[int]) -> Tensor:
        """See `batched_lbfgs.Objective`."""
        return gradient * (self.inverse if len(sites) == len(self.inverse) else self.inverse[list(sites)])


def fit_logistic(
    problems: Problems,
    l2: Float[Tensor, "site problem"],
    variance: Float[Tensor, "site feature"],
    start: Linear | None = None,
    decrement: float = DECREMENT,
) -> Linear:
    """The optimum of every problem at every site.

    l2: penalty. variance: of each feature, for the preconditioner. start: a solution nearby, such as that of a stronger
    penalty. decrement: how near the optimum is near enough, in nats of the objective.
    """
    if start is None:
        n_parameters = (problems.x.shape[2] + 1) * problems.n_columns
        theta = problems.x.new_zeros(len(problems.x), len(problems.labels), n_parameters)
    else:
        theta = torch.cat([start.weight.flatten(2), start.bias], dim=2)
    objective = LogisticObjective(problems, l2, theta, variance)
    theta, converged = minimise(objective, theta, decrement)
    weight, bias = objective.split(theta)
    return Linear(weight, bias, converged)
