"""The direction of the residual stream that a logit difference reads, with the norms on the way held as they are.

A norm divides by a scale that depends on its input, and is affine once the scale is held fixed at its actual value:

    logit difference  =  (W_U[answer] - W_U[distractor]) · (gain * centre(x) / scale + bias) + b_U difference
                      =  direction · x + constant

so every part of x contributes its own product with `direction`. Rather than writing gains, offsets (1 + w), centring
and biases down for each kind of norm, the direction is taken as the gradient of the model's own norm with its scale
held, and the constant as its value at 0: exact, since the function is affine.
"""

from __future__ import annotations

import contextlib
import warnings
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import InputError
from interp.hooks.partial import can_read_narrowly, hooked

Direction = Float[Tensor, "batch d_in"]


def unembedding_direction(
    model: Any, answers: Int[Tensor, "batch answer"], distractors: Int[Tensor, "batch distractor"] | None
) -> tuple[Float[Tensor, "batch d_model"], Float[Tensor, " batch"]]:
    """Mean unembedding of the answers less that of the distractors, and the same of the biases, float32.

    Sets are padded with -1. Without distractors: less the mean over the vocabulary, since a constant added to all
    logits means nothing.
    """
    weights, biases = model.W_U.T, model.b_U  # [vocab, d_model], [vocab]
    up, up_bias = _mean_of(weights, biases, answers)
    if distractors is None:
        return up - weights.float().mean(0), up_bias - biases.float().mean()
    down, down_bias = _mean_of(weights, biases, distractors)
    return up - down, up_bias - down_bias


def _mean_of(weights: Tensor, biases: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    index, real = tokens.clamp(min=0).to(weights.device), (tokens >= 0).to(weights.device)
    share = real.float() / real.sum(-1, keepdim=True)
    rows, bias = weights[index].float(), biases[index].float()
    return torch.einsum("bc,bcd->bd", share, rows), (share * bias).sum(-1)


def through_final_norm(
    model: Any, residual: Float[Tensor, "batch d_model"], unembedding: Float[Tensor, "batch d_model"]
) -> tuple[Float[Tensor, "batch d_model"], Float[Tensor, " batch"]]:
    """(direction, constant) of the last residual stream, for a direction of what the unembedding reads.

    Raises InputError for a model whose logits are not the unembedding of its final norm.
    """
    if not can_read_narrowly(model):
        raise InputError(
            "this model's logits are not final norm and unembedding of its last residual stream (or something hooks "
            "them just now), so no part of the stream has a direct contribution"
        )
    return affine_part(model.ln_final, residual.float(), unembedding)


def affine_part(
    module: Any, x: Float[Tensor, "batch d_in"], direction: Float[Tensor, "batch d_out"]
) -> tuple[Direction, Float[Tensor, " batch"]]:
    """(a, c) such that direction · module(x) = a · x + c, for an affine module, or a norm with its scale held.

    x: where the norm's scale is taken. a has x's shape; both are float32.
    """
    with torch.enable_grad(), _scale_held(module):
        point = x.detach().clone().requires_grad_(True)
        out = (module(point[None])[0].float() * direction).sum()
        (slope,) = torch.autograd.grad(out, point)
        constant = (module(torch.zeros_like(point)[None])[0].float() * direction).sum(-1)
    return slope.float(), constant.detach()


@contextlib.contextmanager
def _scale_held(module: Any) -> Any:
    """While open, a norm divides by the scale of its first input, whatever its later ones."""
    kept: list[Tensor] = []

    def hold(scale: Tensor) -> Tensor:
        if not kept:
            kept.append(scale.detach())
        return kept[0]

    with contextlib.ExitStack() as stack:
        # The library says that a held scale leaves its own kernels: that is wanted here.
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        if hasattr(module, "hook_scale"):
            stack.enter_context(hooked(module.hook_scale, hold))
        yield


def has_output_transform(model: Any) -> bool:
    """Whether the model changes its logits after the unembedding: a soft cap, or a scale."""
    probe = torch.linspace(-50, 50, 11, device=model.W_U.device)
    return not torch.allclose(model.adapter.apply_output_logits_transform(probe), probe)
