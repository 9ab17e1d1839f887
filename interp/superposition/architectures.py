"""The toy models: linear, ReLU output, ReLU hidden layer, and the one that computes absolute values.

Every function takes the weights of many models at once, [setting, seed, ...], and runs them in batched products.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import unknown

Inputs = Float[Tensor, "#setting #seed example feature"]
"""One set of inputs may serve all settings and seeds."""
Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class Architecture:
    """forward(weights, x) is what a model makes of its inputs, target(x) what it should make of them.

    tied: the matrix out of the hidden layer is the transpose of the one into it. formula: how the paper writes it.
    """

    forward: Callable[[Weights, Inputs], Inputs]
    target: Callable[[Inputs], Inputs]
    tied: bool
    formula: str

    def start(self, n_features: int, n_hidden: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Weights of one model before training: W Xavier-normal, no bias.

        A matrix of its own out of the hidden layer is |W|ᵀ: from random signs a quarter of the outputs starts behind a
        ReLU that neither sign of its feature opens, and where features are sparse little else does.
        """
        spread = (2 / (n_features + n_hidden)) ** 0.5
        matrix = torch.empty(n_hidden, n_features, device=generator.device).normal_(0, spread, generator=generator)
        made = {"W": matrix, "bias": torch.zeros(n_features, device=generator.device)}
        return made if self.tied else made | {"W_out": matrix.abs().T.contiguous()}


def linear(weights: Weights, x: Inputs) -> Inputs:
    """x' = WᵀWx + b."""
    hidden = x @ weights["W"].mT
    return hidden @ weights["W"] + weights["bias"][..., None, :]


def relu_output(weights: Weights, x: Inputs) -> Inputs:
    """x' = ReLU(WᵀWx + b)."""
    return linear(weights, x).relu()


def relu_hidden(weights: Weights, x: Inputs) -> Inputs:
    """x' = ReLU(Wᵀ ReLU(Wx) + b)."""
    hidden = (x @ weights["W"].mT).relu()
    return (hidden @ weights["W"] + weights["bias"][..., None, :]).relu()


def absolute(weights: Weights, x: Inputs) -> Inputs:
    """y = ReLU(W₂ ReLU(W₁x) + b)."""
    hidden = (x @ weights["W"].mT).relu()
    return (hidden @ weights["W_out"].mT + weights["bias"][..., None, :]).relu()


def _same(x: Inputs) -> Inputs:
    return x


ARCHITECTURES = {
    "linear": Architecture(linear, _same, True, "x' = WᵀWx + b"),
    "relu": Architecture(relu_output, _same, True, "x' = ReLU(WᵀWx + b)"),
    "relu_hidden": Architecture(relu_hidden, _same, True, "x' = ReLU(Wᵀ ReLU(Wx) + b)"),
    "absolute": Architecture(absolute, torch.abs, False, "y = ReLU(W₂ ReLU(W₁x) + b), which should be |x|"),
}


def architecture(name: str, *, tied: bool = False) -> Architecture:
    """The architecture of that name, among those with tied weights if wished. Raises InputError for another name."""
    known = [known for known, kind in ARCHITECTURES.items() if kind.tied or not tied]
    if name not in known:
        raise unknown("toy model", name, known)
    return ARCHITECTURES[name]
