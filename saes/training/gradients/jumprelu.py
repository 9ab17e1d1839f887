"""JumpReLU: straight-through estimates of what the thresholds do (Rajamanoharan et al. 2024, section 3).

A latent's activation f = h · [h > θ] jumps by θ when θ passes h, and so does the count of active latents by one. The
derivatives of these jumps are estimated from the latents whose h lies within half a bandwidth ε of θ:

    ∂f/∂θ ≈ −(θ/ε) [|h − θ| < ε/2]          ∂[h > θ]/∂θ ≈ −(1/ε) [|h − θ| < ε/2]
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from saes.architectures.jumprelu import JumpReLU, JumpReLUDictionary
from saes.kernels.support import DenseSupport, Support, from_mask
from saes.training.gradients.terms import Encoded, Found, along_the_sphere, decode, way_back

ROUNDING = 0.02
"""How far h in bfloat16 may lie from h, on inputs whose components are of order one, beside a share of itself."""


def jumprelu_gradients(
    dictionary: JumpReLUDictionary, encoded: Encoded, max_density: float, sparsity: float = 1.0
) -> Found:
    """Gradients of the squared error plus the sparsity loss, thresholds included."""
    config, n_tokens = dictionary.config, len(encoded.x)
    support, h = _near_or_active(dictionary, encoded, max_density)
    threshold = support.per_latent(dictionary.threshold)
    active = h > threshold
    window = ((h - threshold).abs() < config.bandwidth / 2) & (h != 0)
    activations = h * active
    out = decode(dictionary, encoded.x, support, activations)
    gradient = support.sample(out.upstream, dictionary.decoder)
    decoder = support.gather(activations, out.upstream)
    radial = support.column_sums(activations * gradient)
    penalty, of_count, of_activation, of_length = _sparsity(dictionary, support, activations, active, sparsity)
    if of_length is not None and config.decoder_norm == "free":
        lengths = dictionary.decoder.norm(dim=1, keepdim=True).clamp_min(1e-12)
        decoder.addcmul_(dictionary.decoder / lengths, of_length[:, None])
    gradient = gradient + of_activation
    gradients = way_back(dictionary, encoded, support, gradient * active, decoder, out.upstream.sum(0))
    jump = (threshold * gradient + of_count / n_tokens) * window
    gradients.threshold = support.column_sums(jump).mul_(-1 / config.bandwidth)
    along_the_sphere(dictionary, gradients, radial)
    return Found(gradients, support, activations, out.squared_error, penalty, out.residual)


def _near_or_active(dictionary: JumpReLUDictionary, encoded: Encoded, max_density: float) -> tuple[Support, Tensor]:
    """Every entry that is active or within the window, and h there. Where h came in bfloat16, whose steps are wider
    than a window, it is computed again for these entries."""
    lowest = dictionary.threshold - dictionary.config.bandwidth / 2
    coarse = encoded.h.dtype == torch.bfloat16
    if coarse:
        lowest = lowest - ROUNDING - lowest.abs() / 128
    support = from_mask(encoded.h > lowest.to(encoded.h.dtype), max_density)
    if not coarse or isinstance(support, DenseSupport):
        return support, support.pick(encoded.h).float()
    return support, support.sample(encoded.centred, dictionary.encoder) + support.per_latent(dictionary.b_enc)


def _sparsity(
    dictionary: JumpReLUDictionary, support: Support, activations: Tensor, active: Tensor, sparsity: float
) -> tuple[Float[Tensor, ""], Tensor | float, Tensor | float, Tensor | None]:
    """The sparsity loss; its derivative by each token's count of active latents (times tokens), by each activation,
    and by each direction's length."""
    config: JumpReLU = dictionary.config
    n_tokens, coefficient = support.n_rows, config.weight * sparsity
    mean_l0 = active.sum() / n_tokens
    if config.sparsity_loss == "step":
        return coefficient * mean_l0, coefficient, 0.0, None
    if config.sparsity_loss == "quadratic":
        excess = mean_l0 / config.target_l0 - 1
        return coefficient * excess.square(), 2 * coefficient * excess / config.target_l0, 0.0, None
    lengths = support.per_latent(dictionary.decoder.norm(dim=1))
    soft = torch.tanh(config.tanh_scale * activations * lengths)
    slope = coefficient / n_tokens * config.tanh_scale * (1 - soft.square())
    of_length = support.column_sums(slope * activations)
    return coefficient * soft.sum() / n_tokens, 0.0, slope * lengths, of_length
