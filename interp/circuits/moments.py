"""Mean and spread over prompts that come in batches, without keeping them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


class Moments:
    """Running mean and variance (Welford 1962; for batches Chan, Golub and LeVeque 1979), in float64."""

    def __init__(self) -> None:
        self.n = 0
        self._mean: Tensor | None = None
        self._squares: Tensor | None = None

    def add(self, values: Float[Tensor, "example *rest"]) -> None:
        """Take more examples."""
        batch = values.double()
        mean = batch.mean(0)
        squares = (batch - mean).square_().sum(0)
        if self._mean is None or self._squares is None:
            self.n, self._mean, self._squares = len(values), mean, squares
            return
        total = self.n + len(values)
        shift = mean - self._mean
        self._mean += shift * (len(values) / total)
        self._squares += squares + shift.square() * (self.n * len(values) / total)
        self.n = total

    @property
    def mean(self) -> Float[Tensor, "*rest"]:
        """The mean of what was taken."""
        assert self._mean is not None, "nothing was added"
        return self._mean

    @property
    def std(self) -> Float[Tensor, "*rest"]:
        """The standard deviation of what was taken (n - 1 in the denominator); NaN for one example."""
        assert self._squares is not None, "nothing was added"
        if self.n < 2:
            return torch.full_like(self._squares, float("nan"))
        return (self._squares / (self.n - 1)).sqrt()
