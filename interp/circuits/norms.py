"""Normalisation in closed form: what it does to a vector, and what its Jacobian does to a gradient.

With centre P (x minus its mean for LayerNorm, nothing for RMSNorm), scale σ = sqrt(mean((P x)²) + ε) and gain γ,

    norm(x) = γ ⊙ P x / σ + bias              x̂ = P x / σ
    Jᵀ u    = P (γ ⊙ u - x̂ mean(x̂ ⊙ γ ⊙ u)) / σ

so that a gradient behind a norm becomes one before it without a graph of the norm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Norm:
    """A norm, or none (divides is False). gain, bias: None where there is none; float32 or wider."""

    divides: bool
    centres: bool
    gain: Float[Tensor, " d_model"] | None
    bias: Float[Tensor, " d_model"] | None
    eps: float

    def __call__(self, x: Float[Tensor, "*at d_model"]) -> Float[Tensor, "*at d_model"]:
        """The normalised x, in the precision of this norm."""
        normed = self.normalised(x)[0]
        scaled = normed if self.gain is None else normed * self.gain
        return scaled if self.bias is None else scaled + self.bias

    def normalised(
        self, x: Float[Tensor, "*at d_model"]
    ) -> tuple[Float[Tensor, "*at d_model"], Float[Tensor, "*at 1"]]:
        """x̂ and 1/σ; x itself and ones where nothing normalises."""
        x = wide(x)
        if not self.divides:
            return x, torch.ones_like(x[..., :1])
        centred = x - x.mean(-1, keepdim=True) if self.centres else x
        inverse = (centred.pow(2).mean(-1, keepdim=True) + self.eps).rsqrt()
        return centred * inverse, inverse

    def pull_back(
        self, gradient: Float[Tensor, "*at d_model"], x: Float[Tensor, "*at d_model"]
    ) -> Float[Tensor, "*at d_model"]:
        """The gradient at x from the gradient at norm(x): Jᵀ u."""
        gradient = wide(gradient)
        if self.gain is not None:
            gradient = gradient * self.gain
        if not self.divides:
            return gradient
        normed, inverse = self.normalised(x)
        along = (normed * gradient).mean(-1, keepdim=True)
        return self.centred(torch.addcmul(gradient, normed, along, value=-1)) * inverse

    def centred(self, x: Float[Tensor, "*at d_model"]) -> Float[Tensor, "*at d_model"]:
        """P x."""
        return x - x.mean(-1, keepdim=True) if self.centres else x

    def fold_in(self, weight: Float[Tensor, "*head d_model d_out"]) -> Float[Tensor, "*head d_model d_out"]:
        """The gain on the side of a matrix that reads the norm."""
        return weight if self.gain is None else weight * self.gain[:, None]

    def fold_out(self, weight: Float[Tensor, "*head d_in d_model"]) -> Float[Tensor, "*head d_in d_model"]:
        """Centre and gain on the side of a matrix whose output is normalised."""
        centred = self.centred(weight)
        return centred if self.gain is None else centred * self.gain


NO_NORM = Norm(divides=False, centres=False, gain=None, bias=None, eps=0.0)


def norm_of(module: Any) -> Norm:
    """The norm that a module of a bridge is; `NO_NORM` for None and for modules that pass their input on."""
    if module is None or not hasattr(module, "uses_rms_norm"):
        return NO_NORM
    inner = module.original_component
    if isinstance(inner, torch.nn.Identity):
        return NO_NORM
    eps = getattr(inner, "eps", None) or getattr(inner, "variance_epsilon", None) or module.config.eps
    gain, bias = getattr(inner, "weight", None), getattr(inner, "bias", None)
    if isinstance(gain, Tensor):
        gain = 1.0 + wide(gain.detach()) if module.uses_weight_offset else wide(gain.detach())
    rms = bool(module.uses_rms_norm)
    bias = wide(bias.detach()) if isinstance(bias, Tensor) and not rms else None
    return Norm(True, not rms, gain if isinstance(gain, Tensor) else None, bias, float(eps))


def wide(x: Tensor) -> Tensor:
    """At least float32."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()
