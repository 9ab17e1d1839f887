"""`Stream`: what training asks of its data, and `TensorStream`, for activations that somebody already has."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from interp.errors import InputError

State = tuple[dict[str, Tensor], dict[str, Any]]
"""Tensors by name, and plain values (JSON)."""


class Stream(ABC):
    """Batches of activations, the same tokens for every site; where it stands can be stored and taken up again.

    widths: d_in by site. n_tokens: how many a pass over the data has, or None where nobody knows.
    """

    widths: Mapping[str, int]
    n_tokens: int | None

    @abstractmethod
    def next_batch(self, size: int) -> dict[str, Float[Tensor, "tokens d_in"]]:
        """The next `size` tokens of every site."""

    @abstractmethod
    def sample(self, size: int) -> dict[str, Float[Tensor, "tokens d_in"]]:
        """Up to `size` tokens drawn from the training data, without moving on: for means and norms."""

    @abstractmethod
    def held_out(self, size: int) -> dict[str, Float[Tensor, "tokens d_in"]]:
        """Up to `size` tokens that `next_batch` never gives."""

    @abstractmethod
    def state(self) -> State:
        """Everything that decides the next batches."""

    @abstractmethod
    def restore(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Go back to a state."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What the data are, as plain values that change when the data do."""


def _as_tensor(site: str, values: Any) -> Tensor:
    """What somebody gave as activations, as a tensor that shares its memory. Raises InputError for anything else."""
    if isinstance(values, np.ndarray):
        if values.dtype not in (np.float16, np.float32, np.float64) or not values.dtype.isnative:
            raise InputError(f"activations at {site} are {values.dtype}; give float16, float32 or float64")
        if any(step < 0 for step in values.strides):
            raise InputError(f"activations at {site} run backwards in memory; give np.ascontiguousarray of them")
        with warnings.catch_warnings():
            # PyTorch warns of arrays that must not be written, such as read-only memory maps: nothing writes here.
            warnings.simplefilter("ignore", UserWarning)
            values = torch.from_numpy(values)
    if not isinstance(values, Tensor):
        raise InputError(
            f"activations at {site} are {type(values).__name__}; give a tensor, a NumPy array or a memory map "
            "[tokens, d_in], such as torch.as_tensor(...) or np.load(..., mmap_mode='r')"
        )
    if not values.is_floating_point():
        raise InputError(f"activations at {site} are {values.dtype}; give floating-point numbers, such as x.float()")
    if values.ndim != 2:
        raise InputError(
            f"activations at {site} have shape {list(values.shape)}; give [tokens, d_in], such as x.flatten(0, -2)"
        )
    return values.detach()


class TensorStream(Stream):
    """Rows of tensors or memory maps in a new random order every epoch; some are held out."""

    def __init__(
        self,
        activations: Mapping[str, Tensor | NDArray[Any]],
        seed: int = 0,
        held_out_share: float = 0.05,
        device: torch.device | str = "cpu",
    ) -> None:
        """activations: one tensor or NumPy array [tokens, d_in] a site, all with the same number of tokens. None is
        copied: of a memory map only the rows of a batch are read."""
        if not activations:
            raise InputError("there are no activations; give a tensor [tokens, d_in], or one for each site by name")
        tensors = {site: _as_tensor(site, values) for site, values in activations.items()}
        lengths = {len(tensor) for tensor in tensors.values()}
        if len(lengths) != 1:
            raise InputError(f"all sites need the same number of tokens; these have {sorted(lengths)}")
        (total,) = lengths
        self.activations = tensors
        self.widths = {site: tensor.shape[1] for site, tensor in tensors.items()}
        self.seed, self.device = seed, torch.device(device)
        kept = self._order(0xFFFF, total)
        n_held = int(total * held_out_share)
        self._held, self._rows = kept[:n_held], kept[n_held:].sort().values
        self.n_tokens = len(self._rows)
        if not len(self._rows):
            raise InputError("there are no activations to train on")
        self._epoch, self._cursor = 0, 0
        self._permutation = self._order(0, len(self._rows))

    def next_batch(self, size: int) -> dict[str, Float[Tensor, "tokens d_in"]]:
        """The next `size` rows; what an epoch leaves over at its end is dropped."""
        if size > len(self._rows):
            raise InputError(
                f"a batch of {size} tokens is larger than the data ({len(self._rows)} after holding out "
                f"{len(self._held)}); choose a smaller batch_size"
            )
        if self._cursor + size > len(self._rows):
            self._epoch, self._cursor = self._epoch + 1, 0
            self._permutation = self._order(self._epoch, len(self._rows))
        rows = self._rows[self._permutation[self._cursor : self._cursor + size]]
        self._cursor += size
        return self._take(rows)

    def sample(self, size: int) -> dict[str, Float[Tensor, "tokens d_in"]]:
        """`size` random rows of the training data, the same ones every time."""
        return self._take(self._rows[self._order(0xFFFE, len(self._rows))[:size]])

    def held_out(self, size: int) -> dict[str, Float[Tensor, "tokens d_in"]]:
        """Up to `size` of the rows that were held out."""
        return self._take(self._held[:size])

    def state(self) -> State:
        """Epoch and place in it: the order follows from the seed."""
        return {}, {"seed": self.seed, "epoch": self._epoch, "cursor": self._cursor}

    def restore(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Go back to an epoch and a place in it."""
        if plain["seed"] != self.seed:
            raise InputError(f"the stored order has seed {plain['seed']}, this stream {self.seed}")
        self._epoch, self._cursor = int(plain["epoch"]), int(plain["cursor"])
        self._permutation = self._order(self._epoch, len(self._rows))

    def describe(self) -> dict[str, Any]:
        """Sizes, and a checksum of some rows of every site."""
        rows = self._rows[:: max(1, len(self._rows) // 997)]
        sums = {site: float(tensor.double().sum()) for site, tensor in self._take(rows).items()}
        return {"kind": "tensor", "tokens": len(self._rows), "held_out": len(self._held), "checksums": sums}

    def _take(self, rows: Int[Tensor, " tokens"]) -> dict[str, Float[Tensor, "tokens d_in"]]:
        return {site: tensor[rows].to(self.device, torch.float32) for site, tensor in self.activations.items()}

    def _order(self, number: int, size: int) -> Int[Tensor, " size"]:
        """A permutation that depends on the seed and the number alone."""
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + number) % 2**63)
        return torch.randperm(size, generator=generator)
