"""BatchTopK: the batch's k largest latents per token on average; a threshold afterwards (Bussmann et al. 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.errors import InputError
from saes.architectures.dictionary import Dictionary
from saes.architectures.jumprelu import JumpReLU, JumpReLUDictionary
from saes.architectures.topk import TopK


@dataclass(frozen=True)
class BatchTopK(TopK):
    """In training the k · tokens largest of the whole batch are active: easy tokens use fewer, hard ones more.

    Afterwards a latent is active above one threshold, the running mean of what the smallest active latent of a batch
    was, so that a token's latents do not depend on its neighbours.
    """

    architecture: ClassVar[str] = "batchtopk"

    threshold_rate: float = 0.1
    """How fast the threshold follows the batches. The smallest of many activations varies little from one batch to the
    next, and a slow threshold is still that of the beginning when a short training ends."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.threshold_rate <= 1:
            raise InputError(f"threshold_rate lies above 0 and is at most 1, not {self.threshold_rate}")

    def build(self, generator: torch.Generator | None = None) -> Dictionary:
        """The dictionary with random directions."""
        return BatchTopKDictionary(self, generator)


class BatchTopKDictionary(Dictionary):
    """Active where h (times the direction's length, where that is free) exceeds the running threshold, a scalar."""

    config: BatchTopK
    threshold: Tensor

    def __init__(self, config: BatchTopK, generator: torch.Generator | None = None) -> None:
        super().__init__(config, generator)
        self.register_buffer("threshold", torch.zeros(()))

    def active(self, pre_activations: Float[Tensor, "*batch d_sae"]) -> Bool[Tensor, "*batch d_sae"]:
        """Positive and above the threshold; before training that is every positive one."""
        return self.competing(pre_activations) > self.threshold

    @torch.no_grad()
    def fold(self) -> Dictionary:
        """A JumpReLU dictionary whose thresholds are all the running one."""
        config = JumpReLU(
            self.d_in,
            self.d_sae,
            apply_b_dec_to_input=self.config.apply_b_dec_to_input,
            decoder_norm=self.config.decoder_norm,
            target_l0=float(self.config.k),
        )
        plain, _ = self._plain(config)
        assert isinstance(plain, JumpReLUDictionary)
        plain.threshold.fill_(float(self.threshold))
        return plain
