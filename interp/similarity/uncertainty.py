"""How sure a similarity is: bootstrap over documents, of what each document contributes.

Tokens of a document resemble each other, so documents are what is drawn, never single tokens. A document that a
resample holds twice would bring pairs of identical tokens, which raise every measure of similarity; therefore not the
tokens are resampled but each document's contribution, from leaving it out (jackknife pseudo-values: Efron &
Tibshirani 1993, sections 10.6 and 11.5). It is taken on Fisher's scale (the inverse hyperbolic tangent), where an
interval of something that cannot exceed 1 is symmetric.

The first order says little where nothing is shared: HSIC of independent representations has no first-order part, and
there the permutation test is the one to read.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.results import FEWEST, bootstrap_interval

MOST_GROUPS = 64
"""Documents beyond these are put together at random: more groups make no interval better."""
_NEARLY_ONE = 1 - 1e-9


def grouped(documents: Int[Tensor, " n"], most: int = MOST_GROUPS, seed: int = 0) -> Int[Tensor, " n"]:
    """A group 0 .. G-1 of every token: its document, or one of `most` random unions of documents.

    Unions are made with as even numbers of tokens as a greedy choice gives.
    """
    _, label, counts = documents.unique(return_inverse=True, return_counts=True)
    if len(counts) <= most:
        return label
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(counts), generator=generator)
    # Largest first into the smallest union; the random order decides among equals.
    order = order[counts[order].sort(descending=True, stable=True).indices]
    filled, union = [0] * most, torch.zeros(len(counts), dtype=torch.long)
    for document, count in zip(order.tolist(), counts[order].tolist()):
        smallest = filled.index(min(filled))
        union[document], filled[smallest] = smallest, filled[smallest] + count
    return union[label]


def contributions(
    whole: Float[Tensor, "*map"], without: Float[Tensor, "g *map"], sizes: Int[Tensor, " g"]
) -> Float[Tensor, "g *map"]:
    """What every group contributes to a similarity, on Fisher's scale; their mean is about the similarity itself.

    whole: over all tokens. without: with each group left out. sizes: tokens of each group, which may differ.
    """
    at, out = (value.clamp(-_NEARLY_ONE, _NEARLY_ONE).atanh() for value in (whole, without))
    share = (sizes / sizes.sum()).to(whole.device).view(-1, *[1] * whole.ndim)
    return at + len(sizes) * (1 - share) * (at - out)


def interval(
    whole: Float[Tensor, "*map"], contributed: Float[Tensor, "g *map"], n_resamples: int = 1000, seed: int = 0
) -> tuple[Float[Tensor, "*map"], Float[Tensor, "*map"]]:
    """Ends of the 95 % interval of a similarity from its groups' contributions; NaN for fewer than five groups."""
    low, high = bootstrap_interval(contributed.double(), 0, n_resamples, seed=seed)
    # About the estimate itself: the mean of the contributions differs from it by the jackknife's guess of the bias.
    # The variance of resampled means is that of G contributions over G, which is (G - 1) / G too small.
    n_groups, middle = len(contributed), contributed.double().mean(0)
    wider = (n_groups / (n_groups - 1)) ** 0.5 if n_groups >= FEWEST else 1.0
    at = whole.double().clamp(-_NEARLY_ONE, _NEARLY_ONE).atanh()
    return (at + wider * (low - middle)).tanh(), (at + wider * (high - middle)).tanh()
