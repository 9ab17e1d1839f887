"""Standard: squared error + l1_coefficient · mean over tokens of Σ_j f_j ‖W_dec,j‖ (Bricken et al. 2023)."""

from __future__ import annotations

import torch

from saes.architectures.standard import StandardDictionary
from saes.kernels.support import from_mask
from saes.training.gradients.terms import Encoded, Found, along_the_sphere, decode, way_back


def standard_gradients(
    dictionary: StandardDictionary, encoded: Encoded, max_density: float, sparsity: float = 1.0
) -> Found:
    """Gradients of the loss; the support is whatever is positive, a mask while that is much of the dictionary."""
    n_tokens = len(encoded.x)
    support = from_mask(encoded.h > 0, max_density)
    activations = support.pick(encoded.h).float()
    out = decode(dictionary, encoded.x, support, activations)
    price = dictionary.config.l1_coefficient * sparsity / n_tokens
    free = dictionary.config.decoder_norm == "free"
    lengths = dictionary.decoder.norm(dim=1) if free else torch.ones_like(dictionary.b_enc)
    gradient = support.sample(out.upstream, dictionary.decoder)
    decoder = support.gather(activations, out.upstream)
    totals = support.column_sums(activations)
    radial = support.column_sums(activations * gradient)
    if free:
        decoder.addcmul_(dictionary.decoder, (price * totals / lengths.clamp_min(1e-12))[:, None])
    gradient = gradient + price * support.per_latent(lengths)
    gradients = way_back(dictionary, encoded, support, gradient, decoder, out.upstream.sum(0))
    along_the_sphere(dictionary, gradients, radial)
    return Found(gradients, support, activations, out.squared_error, price * (totals * lengths).sum(), out.residual)
