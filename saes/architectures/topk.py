"""TopK: the k largest latents of every token (Makhzani & Frey 2013; Gao et al. 2024, "Scaling and evaluating sparse
autoencoders")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.errors import InputError
from saes.architectures.dictionary import Dictionary, DictionaryConfig
from saes.kernels.selection import top_k
from saes.plain_values import check_values


@dataclass(frozen=True)
class TopK(DictionaryConfig):
    """Exactly k latents compete through for every token; those with negative pre-activations stay silent."""

    architecture: ClassVar[str] = "topk"

    k: int = 32
    """Active latents per token."""
    aux_k: int | None = None
    """Dead latents that learn from what the others leave over, for each token (None: half of d_in; 0: none)."""
    aux_coefficient: float = 1 / 32
    """Weight of that loss (AuxK; Gao et al., appendix A.2)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.k <= self.d_sae:
            raise InputError(f"k is the number of active latents, from 1 to d_sae = {self.d_sae}, not {self.k}")
        check_values(self, least={"aux_k": 0, "aux_coefficient": 0})

    def label(self) -> str:
        """Architecture, width and k."""
        return f"{super().label()}-k{self.k}"

    def build(self, generator: torch.Generator | None = None) -> Dictionary:
        """The dictionary with random directions."""
        return TopKDictionary(self, generator)


class TopKDictionary(Dictionary):
    """Active where among the k largest of a token, and positive."""

    config: TopK

    def active(self, pre_activations: Float[Tensor, "*batch d_sae"]) -> Bool[Tensor, "*batch d_sae"]:
        """The k largest entries of every token that are positive."""
        flat = self.competing(pre_activations).reshape(-1, self.d_sae)
        mask = torch.zeros_like(flat, dtype=torch.bool).scatter_(1, top_k(flat.detach(), self.config.k), True)
        return mask.view(pre_activations.shape) & (pre_activations > 0)

    @torch.no_grad()
    def fold(self) -> Dictionary:
        """Unit directions, lengths in the encoder: the same latents win."""
        return self._plain(self.config)[0]
