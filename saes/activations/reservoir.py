"""`Reservoir`: activations of many texts, mixed. A batch takes rows from random places and fresh ones fill them.

Filling in place costs what the batch costs, whatever the reservoir's size. One place is drawn from each of as many
equal parts of the reservoir as a batch has rows, so that no row is drawn twice.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import InputError


class Reservoir:
    """Rows of one or more arrays that belong together, such as one array of activations a site.

    rows: by name, [capacity, ...]. n_filled: how many places hold something yet.
    """

    def __init__(self, capacity: int, generator: torch.Generator) -> None:
        self.capacity = capacity
        self.generator = generator
        self.rows: dict[str, Tensor] = {}
        self.n_filled = 0

    @property
    def free(self) -> int:
        """Places that hold nothing yet."""
        return self.capacity - self.n_filled

    def fill(self, fresh: Mapping[str, Float[Tensor, "n *rest"]]) -> None:
        """Put rows into free places; there have to be enough."""
        (n,) = {len(values) for values in fresh.values()}
        if not self.rows:
            self.rows = {name: values.new_zeros(self.capacity, *values.shape[1:]) for name, values in fresh.items()}
        for name, values in fresh.items():
            self.rows[name][self.n_filled : self.n_filled + n] = values
        self.n_filled += n

    def exchange(self, fresh: Mapping[str, Float[Tensor, "n *rest"]]) -> dict[str, Float[Tensor, "n *rest"]]:
        """As many rows from random places of a full reservoir as fresh ones, which take their places."""
        (n,) = {len(values) for values in fresh.values()}
        places = self._places(n)
        taken = {name: values[places] for name, values in self.rows.items()}
        for name, values in fresh.items():
            self.rows[name][places] = values
        return taken

    def peek(self, n: int, generator: torch.Generator) -> dict[str, Float[Tensor, "n *rest"]]:
        """Up to `n` random rows, which stay."""
        places = torch.randperm(self.n_filled, generator=generator)[:n]
        return {name: values[places] for name, values in self.rows.items()}

    def _places(self, n: int) -> Int[Tensor, " n"]:
        if n > self.capacity:
            raise InputError(
                f"a batch of {n} tokens is larger than the shuffle buffer of {self.capacity}; choose a smaller "
                "batch_size or a larger buffer"
            )
        bounds = torch.arange(n + 1) * self.capacity // n
        widths = bounds.diff()
        drawn = (torch.rand(n, generator=self.generator) * widths).long()
        return bounds[:-1] + torch.minimum(drawn, widths - 1)
