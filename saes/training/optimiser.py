"""`Optimiser`: Adam on gradients that come from elsewhere, with the clipping of their norm folded into the update."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor, nn

from interp.errors import InputError
from saes.plain_values import check_values

MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass(frozen=True)
class Adam:
    """Settings of Adam (Kingma & Ba 2015)."""

    beta1: float = 0.9
    """Memory of the mean gradient."""
    beta2: float = 0.999
    """Memory of the mean squared gradient."""
    eps: float = 1e-8
    """Added to the root of the latter."""
    clip: float = 1.0
    """Largest norm of all gradients together; larger ones are scaled down to it (0: never)."""
    threshold_lr: float = 10.0
    """Factor on the learning rate of JumpReLU's thresholds, which have further to go than weights."""

    def __post_init__(self) -> None:
        check_values(self, least={"clip": 0, "threshold_lr": 0}, above={"eps": 0})
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} lies from 0 to below 1, not at {getattr(self, name)}")


class Optimiser:
    """Fused Adam over named parameters."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], settings: Adam) -> None:
        self.parameters = dict(parameters)
        self.settings = settings
        groups = [
            {"params": [parameter], "factor": settings.threshold_lr if name == "threshold" else 1.0}
            for name, parameter in self.parameters.items()
        ]
        betas = (settings.beta1, settings.beta2)
        self.adam = torch.optim.Adam(groups, lr=0.0, betas=betas, eps=settings.eps, fused=True)
        for parameter in self.parameters.values():
            # Made now rather than in the first step, so that a state can be restored before any.
            self.adam.state[parameter] = {
                "step": torch.zeros((), device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }

    def step(self, gradients: Mapping[str, Tensor], lr: float) -> None:
        """One update by gradients named as the parameters."""
        for name, parameter in self.parameters.items():
            parameter.grad = gradients[name]
        if self.settings.clip > 0:
            norms = torch._foreach_norm([gradients[name] for name in self.parameters])
            # The fused kernel divides by this as it reads the gradients: no pass of its own.
            self.adam.grad_scale = (torch.stack(norms).norm() / self.settings.clip).clamp_min_(1.0)  # type: ignore[attr-defined]
        for group in self.adam.param_groups:
            group["lr"] = lr * group["factor"]
        self.adam.step()
        for parameter in self.parameters.values():
            parameter.grad = None

    def forget(self, latents: Int[Tensor, " latents"]) -> None:
        """Clear the moments of some latents' own weights and biases."""
        for name, parameter in self.parameters.items():
            if name != "b_dec":
                for moment in ("exp_avg", "exp_avg_sq"):
                    self.adam.state[parameter][moment][latents] = 0

    def tensors(self) -> dict[str, Tensor]:
        """The moments and step counts, by parameter."""
        return {
            f"{name}.{moment}": self.adam.state[parameter][moment]
            for name, parameter in self.parameters.items()
            for moment in MOMENTS
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Put moments and step counts back."""
        for name, tensor in self.tensors().items():
            tensor.copy_(tensors[name])
