"""The losses as differentiable functions of the parameters, dense and obvious: what the tests compare with."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saes.architectures import (
    BatchTopKDictionary,
    Dictionary,
    JumpReLUDictionary,
    MatryoshkaDictionary,
    StandardDictionary,
)


class _Jump(torch.autograd.Function):
    """h · [h > θ], with the straight-through estimate for θ."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(h, threshold)
        ctx.bandwidth = bandwidth
        return h * (h > threshold)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        h, threshold = ctx.saved_tensors
        window = ((h - threshold).abs() < ctx.bandwidth / 2).to(h.dtype)
        of_threshold = (-threshold / ctx.bandwidth * window * upstream).sum(0)
        return upstream * (h > threshold), of_threshold, None


class _Step(torch.autograd.Function):
    """[h > θ], with the straight-through estimate for θ."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(h, threshold)
        ctx.bandwidth = bandwidth
        return (h > threshold).to(h.dtype)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        h, threshold = ctx.saved_tensors
        window = ((h - threshold).abs() < ctx.bandwidth / 2).to(h.dtype)
        return torch.zeros_like(h), (-1 / ctx.bandwidth * window * upstream).sum(0), None


def reference_loss(dictionary: Dictionary, x: Float[Tensor, "tokens d_in"], sparsity: float = 1.0) -> Float[Tensor, ""]:
    """The architecture's loss of a batch, without that of dead latents. Parameters must require gradients."""
    h = dictionary.pre_activations(x)
    lengths = dictionary.decoder.norm(dim=1)
    if dictionary.config.decoder_norm == "unit":
        lengths = lengths.detach()
    if isinstance(dictionary, StandardDictionary):
        latents = h.relu()
        penalty = dictionary.config.l1_coefficient * sparsity * (latents * lengths).sum(1).mean()
        return _squared_error(dictionary, latents, x) + penalty
    if isinstance(dictionary, JumpReLUDictionary):
        return _jumprelu_loss(dictionary, x, h, lengths, sparsity)
    scores = dictionary.competing(h).detach()
    k = dictionary.config.k  # type: ignore[attr-defined]
    if isinstance(dictionary, BatchTopKDictionary):
        chosen = scores >= scores.flatten().topk(k * len(x)).values[-1]
    else:
        chosen = scores >= scores.topk(k, dim=1).values[:, -1:]
    latents = h.relu() * chosen
    if not isinstance(dictionary, MatryoshkaDictionary):
        return _squared_error(dictionary, latents, x)
    errors = []
    for size in dictionary.config.prefixes:
        errors.append(_squared_error(dictionary, torch.cat([latents[:, :size], latents[:, size:] * 0], dim=1), x))
    return torch.stack(errors).mean()


def _squared_error(dictionary: Dictionary, latents: Tensor, x: Tensor) -> Tensor:
    return (dictionary.decode(latents) - x).square().sum(1).mean()


def _jumprelu_loss(dictionary: JumpReLUDictionary, x: Tensor, h: Tensor, lengths: Tensor, sparsity: float) -> Tensor:
    config = dictionary.config
    latents: Tensor = _Jump.apply(h, dictionary.threshold, config.bandwidth)
    error = _squared_error(dictionary, latents, x)
    coefficient = config.weight * sparsity
    if config.sparsity_loss == "tanh":
        return error + coefficient * torch.tanh(config.tanh_scale * latents * lengths).sum(1).mean()
    steps: Tensor = _Step.apply(h, dictionary.threshold, config.bandwidth)
    l0 = steps.sum(1).mean()
    if config.sparsity_loss == "step":
        return error + coefficient * l0
    return error + coefficient * (l0 / config.target_l0 - 1).square()


def reference_aux_loss(
    dictionary: Dictionary,
    x: Float[Tensor, "tokens d_in"],
    residual: Float[Tensor, "tokens d_in"],
    dead: Int[Tensor, " dead"],
    aux_k: int,
    coefficient: float,
) -> Float[Tensor, ""]:
    """AuxK: the dead latents' squared error in reconstructing −residual, which is held fixed."""
    h = dictionary.pre_activations(x)[:, dead]
    kept = min(aux_k, len(dead))
    chosen = h >= h.topk(kept, dim=1).values[:, -1:]
    made = (h.relu() * chosen.detach()) @ dictionary.decoder[dead]
    return coefficient * min(1.0, len(dead) / aux_k) * (made + residual.detach()).square().sum(1).mean()
