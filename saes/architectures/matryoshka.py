"""Matryoshka BatchTopK: every prefix of the dictionary has to reconstruct on its own (Bussmann et al. 2025; Nabeshima
2024), so that the first latents stay general instead of splitting into special cases."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar

import torch

from interp.errors import InputError
from saes.architectures.batch_topk import BatchTopK, BatchTopKDictionary
from saes.architectures.dictionary import Dictionary


@dataclass(frozen=True)
class Matryoshka(BatchTopK):
    """BatchTopK whose loss is the mean of the squared errors of all prefixes."""

    architecture: ClassVar[str] = "matryoshka_batchtopk"

    prefixes: tuple[int, ...] = ()
    """Sizes of the nested dictionaries, ascending; d_sae is added where it is missing (default: d_sae over 16, 8, 4, 2
    and 1)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(isinstance(size, bool) or not isinstance(size, int | float) or size % 1 for size in self.prefixes):
            raise InputError(f"prefixes are whole numbers of latents, not {list(self.prefixes)}")
        sizes = tuple(int(size) for size in self.prefixes) or tuple(self.d_sae // n for n in (16, 8, 4, 2))
        sizes = tuple(size for size in sizes if size != self.d_sae) + (self.d_sae,)
        if sizes[0] < 1 or any(a >= b for a, b in itertools.pairwise(sizes)):
            raise InputError(f"prefixes ascend from at least 1 to d_sae = {self.d_sae}, not {list(self.prefixes)}")
        object.__setattr__(self, "prefixes", sizes)

    def label(self) -> str:
        """A short name: width and k."""
        return f"matryoshka-{self.d_sae}-k{self.k}"

    def build(self, generator: torch.Generator | None = None) -> Dictionary:
        """The dictionary with random directions."""
        return MatryoshkaDictionary(self, generator)


class MatryoshkaDictionary(BatchTopKDictionary):
    """Uses all of its latents at inference: the prefixes are a matter of training."""

    config: Matryoshka
