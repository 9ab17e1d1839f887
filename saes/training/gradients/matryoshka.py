"""Matryoshka BatchTopK: the mean of the squared errors of all prefixes (Bussmann et al. 2025).

One decode serves all prefixes: the active latents of a token are sorted, so those of a segment between two prefixes lie
together; the segments' sums, added up, are the prefixes' reconstructions. Backwards it is the other way
round: a latent feels the errors of all prefixes that contain it, a sum over the segments from its own to the last.
"""

from __future__ import annotations

from saes.architectures.matryoshka import MatryoshkaDictionary
from saes.kernels.support import SparseSupport
from saes.training.gradients.terms import Encoded, Found, along_the_sphere, way_back, zero


def matryoshka_gradients(dictionary: MatryoshkaDictionary, encoded: Encoded, support: SparseSupport) -> Found:
    """Gradients of the mean squared error over prefixes; the reported squared error is that of the whole dictionary."""
    n_tokens, d_in = encoded.x.shape
    prefixes = dictionary.config.prefixes
    activations = support.pick(encoded.h).float().relu_()
    segments = support.split(prefixes)
    parts = segments.decode(activations, dictionary.decoder).view(n_tokens, len(prefixes), d_in)
    residuals = parts.cumsum(1).add_((dictionary.b_dec - encoded.x)[:, None])
    upstream = residuals * (2 / (n_tokens * len(prefixes)))
    # What a segment feels: its own prefix's error and those of all larger ones.
    felt = upstream.flip(1).cumsum(1).flip(1)
    flat = felt.reshape(-1, d_in)
    gradient = segments.sample(flat, dictionary.decoder).mul_(activations > 0)
    decoder = segments.gather(activations, flat)
    gradients = way_back(dictionary, encoded, support, gradient, decoder, felt[:, 0].sum(0))
    along_the_sphere(dictionary, gradients, support.column_sums(activations * gradient))
    whole = residuals[:, -1]
    return Found(gradients, support, activations, whole.square().sum() / n_tokens, zero(encoded.x), whole)
