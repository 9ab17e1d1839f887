"""JumpReLU: a latent is active above a threshold of its own, learned through straight-through estimates
(Rajamanoharan et al. 2024, "Jumping Ahead"; losses of that paper, of Anthropic 2025 and of Gemma Scope 2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from interp.errors import InputError, unknown
from saes.architectures.dictionary import Dictionary, DictionaryConfig
from saes.plain_values import check_values

LOSSES = ("step", "tanh", "quadratic")
FIRST = 0.1
"""θ of a dictionary that no training has touched."""


@dataclass(frozen=True)
class JumpReLU(DictionaryConfig):
    """f = h where h > θ. Both losses teach θ, through the latents whose h lies within half a bandwidth of it."""

    architecture: ClassVar[str] = "jumprelu"

    sparsity_loss: str = "quadratic"
    """step: coefficient × mean L0. quadratic: coefficient × (mean L0 / target_l0 − 1)². tanh: coefficient × mean over
    tokens of Σ_j tanh(tanh_scale · f_j ‖W_dec,j‖)."""
    coefficient: float | None = None
    """Weight of the sparsity loss; the reconstruction loss is the squared error summed over d_in, which normalisation
    makes d_in at most (None: d_in for the quadratic loss, 1 for the others)."""
    target_l0: float = 32.0
    """Wanted number of active latents per token, of the quadratic loss."""
    tanh_scale: float = 4.0
    """How soon the tanh loss saturates."""
    bandwidth: float = 0.5
    """Width of the window about θ from which θ learns, in units of the pre-activations; a wider one sees more of them,
    and costs more."""
    initial_threshold: float | None = None
    """θ at the start (None: training takes the one over which target_l0 latents lie, in normalised activations)."""
    dead_coefficient: float = 0.01
    """Weight of the mean over tokens of Σ relu(θ − h) ‖W_dec‖ over dead latents (Anthropic 2025)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sparsity_loss not in LOSSES:
            raise unknown("sparsity_loss", self.sparsity_loss, LOSSES)
        if not 0 < self.target_l0 <= self.d_sae:
            raise InputError(f"target_l0 lies above 0 and is at most d_sae = {self.d_sae}, not {self.target_l0}")
        not_negative = ("coefficient", "initial_threshold", "dead_coefficient")
        check_values(self, least=dict.fromkeys(not_negative, 0), above={"bandwidth": 0, "tanh_scale": 0})

    @property
    def weight(self) -> float:
        """Weight of the sparsity loss."""
        if self.coefficient is not None:
            return self.coefficient
        return float(self.d_in) if self.sparsity_loss == "quadratic" else 1.0

    def label(self) -> str:
        """Architecture, width, and the wanted L0 or else the sparsity loss and its coefficient."""
        aim = f"l0_{self.target_l0:g}" if self.sparsity_loss == "quadratic" else f"{self.sparsity_loss}-{self.weight:g}"
        return f"{super().label()}-{aim}"

    def build(self, generator: torch.Generator | None = None) -> JumpReLUDictionary:
        """The dictionary with random directions and equal thresholds."""
        return JumpReLUDictionary(self, generator)


class JumpReLUDictionary(Dictionary):
    """Active where h exceeds the latent's threshold [d_sae], which is never negative."""

    config: JumpReLU

    def __init__(self, config: JumpReLU, generator: torch.Generator | None = None) -> None:
        super().__init__(config, generator)
        self.threshold = nn.Parameter(
            torch.full((config.d_sae,), FIRST if config.initial_threshold is None else config.initial_threshold)
        )

    def active(self, pre_activations: Float[Tensor, "*batch d_sae"]) -> Bool[Tensor, "*batch d_sae"]:
        """h > θ."""
        return pre_activations > self.threshold

    @torch.no_grad()
    def fold(self) -> Dictionary:
        """Unit directions; thresholds move with the encoder's scale."""
        plain, scale = self._plain(self.config)
        assert isinstance(plain, JumpReLUDictionary)
        plain.threshold.copy_(self.threshold * scale)
        return plain
