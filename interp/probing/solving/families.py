"""The families of probes by name: how each is fitted, and what it needs to know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float
from torch import Tensor

from interp.errors import InputError, unknown
from interp.probing.solving.batched_lbfgs import DECREMENT
from interp.probing.solving.closed_forms import fit_mean_difference, fit_ridge
from interp.probing.solving.linear import Linear
from interp.probing.solving.logistic import fit_logistic
from interp.probing.solving.softmax_problems import Problems
from interp.probing.solving.two_layers import TwoLayers, fit_low_rank, fit_perceptron

FAMILIES = ("logistic", "ridge", "mean_difference", "low_rank", "mlp")
GRID = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003, 0.0001, 0.00003)
"""Penalties that are tried, strongest first; the weakest only where what is read is easy."""
TWO_LAYER_GRID = (0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)
"""Two layers are penalised as the sum of their singular values, where stronger ones leave nothing."""


@runtime_checkable
class Fitted(Protocol):
    """What every family returns."""

    converged: Bool[Tensor, "site problem"]

    def logits(self, x: Float[Tensor, "site row feature"]) -> Float[Tensor, "site problem column row"]:
        """Logits, or scores to be calibrated, of every row in every problem."""
        ...


@dataclass(frozen=True)
class Family:
    """A kind of probe with its sizes.

    name: one of FAMILIES. rank: of low-rank probes. hidden: units of a perceptron. seed: of its start.
    """

    name: str
    rank: int = 2
    hidden: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        if self.name not in FAMILIES:
            raise unknown("kind of probe", self.name, FAMILIES)
        if self.rank < 1 or self.hidden < 1:
            raise InputError(f"rank={self.rank} and hidden={self.hidden} must be at least 1")

    @property
    def standardises(self) -> bool:
        """Whether features are divided by their standard deviation; a difference of means is used as it is."""
        return self.name != "mean_difference"

    @property
    def penalised(self) -> bool:
        """Whether there is a penalty to choose."""
        return self.name != "mean_difference"

    @property
    def penalties(self) -> tuple[float, ...]:
        """The penalties that are tried by default."""
        return TWO_LAYER_GRID if self.name in ("low_rank", "mlp") else GRID

    @property
    def calibrated(self) -> bool:
        """Whether its scores need a factor to become logits."""
        return self.name in ("ridge", "mean_difference")

    def check(self, n_classes: int) -> None:
        """Refuse a rank that is no restriction."""
        if self.name == "low_rank" and n_classes < 3:
            raise InputError(
                "low_rank probes need at least three classes: with two a linear probe has rank 1 anyway; use logistic"
            )
        if self.name == "low_rank" and self.rank >= n_classes:
            raise InputError(
                f"rank {self.rank} does not restrict a probe for {n_classes} classes; use {n_classes - 1} or less"
            )

    def fit(
        self,
        problems: Problems,
        l2: Float[Tensor, "site problem"],
        variance: Float[Tensor, "site feature"],
        decrement: float = DECREMENT,
    ) -> Fitted:
        """A probe for every problem at every site."""
        if self.name == "ridge":
            return fit_ridge(problems, l2)
        if self.name == "mean_difference":
            return fit_mean_difference(problems)
        if self.name == "low_rank":
            return fit_low_rank(problems, l2, variance, self.rank, decrement)
        if self.name == "mlp":
            return fit_perceptron(problems, l2, variance, self.hidden, self.seed, decrement)
        return fit_logistic(problems, l2, variance, decrement=decrement)


def as_linear(fitted: Fitted) -> Linear | None:
    """The fitted probe as weights and bias, None where it is no linear map."""
    if isinstance(fitted, Linear):
        return fitted
    return fitted.linear() if isinstance(fitted, TwoLayers) and fitted.inner_bias is None else None
