"""TopK and BatchTopK: the squared error on the chosen latents (Gao et al. 2024; Bussmann et al. 2024)."""

from __future__ import annotations

from torch import Tensor

from saes.architectures.batch_topk import BatchTopKDictionary
from saes.architectures.topk import TopKDictionary
from saes.kernels.selection import batch_top_k, top_k_support
from saes.kernels.support import SparseSupport
from saes.training.gradients.terms import Encoded, Found, along_the_sphere, decode, way_back, zero


def chosen(
    dictionary: TopKDictionary | BatchTopKDictionary, encoded: Encoded, k: int, expected: Tensor
) -> SparseSupport:
    """The support of the batch: k of every token, or k · tokens of all. expected: about where the smallest lies."""
    scores = dictionary.competing(encoded.h)
    if isinstance(dictionary, BatchTopKDictionary):
        return batch_top_k(scores, k, expected)
    return top_k_support(scores, k)


def topk_gradients(dictionary: TopKDictionary | BatchTopKDictionary, encoded: Encoded, support: SparseSupport) -> Found:
    """Gradients of the squared error, given what is active; a chosen latent with h < 0 stays silent."""
    activations = support.pick(encoded.h).float().relu_()
    out = decode(dictionary, encoded.x, support, activations)
    gradient = support.sample(out.upstream, dictionary.decoder).mul_(activations > 0)
    decoder = support.gather(activations, out.upstream)
    gradients = way_back(dictionary, encoded, support, gradient, decoder, out.upstream.sum(0))
    along_the_sphere(dictionary, gradients, support.column_sums(activations * gradient))
    return Found(gradients, support, activations, out.squared_error, zero(encoded.x), out.residual)
