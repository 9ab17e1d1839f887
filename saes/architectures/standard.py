"""Standard: a ReLU, and a price on how much is active (Bricken et al. 2023; Cunningham et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from saes.architectures.dictionary import Dictionary, DictionaryConfig
from saes.plain_values import check_values


@dataclass(frozen=True)
class Standard(DictionaryConfig):
    """A latent is active where its pre-activation is positive; training adds the sum of activations to the loss."""

    architecture: ClassVar[str] = "standard"

    l1_coefficient: float = 1.0
    """Price of activation: the loss gains this times the mean over tokens of Σ_j f_j ‖W_dec,j‖."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_values(self, least={"l1_coefficient": 0})

    def label(self) -> str:
        """Architecture, width and price."""
        return f"{super().label()}-l1_{self.l1_coefficient:g}"

    def build(self, generator: torch.Generator | None = None) -> StandardDictionary:
        """The dictionary with random directions."""
        return StandardDictionary(self, generator)


class StandardDictionary(Dictionary):
    """Active where positive."""

    config: Standard

    def active(self, pre_activations: Float[Tensor, "*batch d_sae"]) -> Bool[Tensor, "*batch d_sae"]:
        """h > 0."""
        return pre_activations > 0

    @torch.no_grad()
    def fold(self) -> Dictionary:
        """Unit directions; a ReLU does not mind where the lengths are."""
        return self._plain(self.config)[0]
