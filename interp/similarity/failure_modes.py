"""Where measures of similarity are known to mislead: found in the data, and said in the notes of a result.

Few tokens for the dimensions: the plain CKA and canonical correlations of unrelated data are high (Murphy et al.
2024, "Correcting Biased Centered Kernel Alignment Measures in Biological and Artificial Neural Networks"). One
direction or a few tokens of large variance: CKA is about them alone, and can be moved at will without changing what a
model does (Davari et al. 2022, "Reliability of CKA as a Similarity Measure in Deep Learning"); language models have
such dimensions (Timkey & van Schijndel 2021, "All Bark and No Bite: Rogue Dimensions in Transformer Language Models
Obscure Representational Quality"). Too narrow or too wide a radial kernel: it knows only identity, or is the linear
one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from interp.similarity.kernel_sums import KernelSums
from interp.similarity.kernels import Prepared
from interp.similarity.naming import SiteNames

DOMINANT = 0.5
"""A dimension that holds this part of the variance is named."""
FEW_DIRECTIONS = 2.0
"""Fewer effective dimensions than this: one direction outweighs all others together."""
HIGH_CHANCE = 0.05
"""Similarity of unrelated data from which a note warns."""
SMALL_SCATTER = 0.01
"""Chance of the debiased estimate (two standard deviations) below which no note is made of it."""
TOKENS_A_DIRECTION = 10
"""Canonical correlations want this many tokens a direction."""


def largest_dimension(xs: Sequence[Float[Tensor, "n _"]]) -> tuple[Float[Tensor, " s"], list[int]]:
    """Of every representation, the share of its variance in the dimension with most of it, and which one that is."""
    variances = [x.var(0) for x in xs]
    shares = [float(v.max() / v.sum().clamp(min=1e-300)) for v in variances]
    return torch.tensor(shares, dtype=torch.float64), [int(v.argmax()) for v in variances]


def effective_dimensions(kernels: Sequence[Prepared], hsic_values: Float[Tensor, "s s"]) -> Float[Tensor, " s"]:
    """The participation ratio tr(C)² / |C|² of every covariance; CKA weighs directions by their variance, squared.

    |C|² is estimated by the debiased HSIC with itself, so that few tokens do not hide dimensions. NaN where that is 0.
    """
    n = len(kernels[0].rows)
    trace = torch.stack([kernel.squares.double().sum() / (n - 1) for kernel in kernels])
    own = hsic_values.diagonal().double().cpu()
    return torch.where(own > 0, trace.cpu() ** 2 / own, torch.nan)


def chance_of_biased(sums: KernelSums) -> Float[Tensor, "s s"]:
    """About what the plain CKA gives for unrelated data with these kernels: tr(Kc) tr(Lc) / ((n - 1) |Kc| |Lc|).

    The numerator is exact: over all orders of the tokens, the mean of tr(Kc Lc) is tr(Kc) tr(Lc) / (n - 1).
    """
    n = sums.rows.shape[1]
    total = sums.rows.sum(1)
    trace = sums.diagonal.double().sum(1) - total / n
    squared = sums.products.diagonal() - 2 / n * sums.rows.square().sum(1) + total.square() / n**2
    ratio = trace / squared.clamp(min=1e-300).sqrt()
    return torch.outer(ratio, ratio) / (n - 1)


def few_tokens_note(chance: Float[Tensor, "s t"], n: int, estimator: str, unit: str = "tokens") -> list[str]:
    """Said where the plain CKA of unrelated data would reach more than 0.05: of its bias, or of what remains without.

    The debiased estimate of unrelated, independent tokens scatters with a standard deviation of about √(2 / n(n-3)),
    whatever the dimensions: it is a cosine with n(n-3)/2 degrees of freedom (Székely & Rizzo 2013, "The distance
    correlation t-test of independence in high dimension").
    """
    highest = float(chance.nan_to_num().max())
    scatter = min(1.0, 2 * (2 / (n * (n - 3))) ** 0.5) if n > 3 else 1.0
    if highest <= HIGH_CHANCE:
        return []
    few = f"{n} {unit} are few for these dimensions: "
    if estimator == "biased":
        return [
            f"{few}unrelated representations would have a plain CKA of up to {min(highest, 1.0):.2f}; use "
            f'estimator="debiased", which is 0 for them in the mean, though not free of chance (about ±{scatter:.2g}).'
        ]
    if scatter < SMALL_SCATTER:
        return []
    return [
        f"{few}without bias is not without chance. The debiased CKA of unrelated representations is 0 in the mean, but "
        f"one such value may lie about {scatter:.2g} to either side, and further where tokens of a text resemble each "
        f"other; go by intervals and the permutation test, or give more {unit}."
    ]


def dominance_notes(
    names: SiteNames, shares: Tensor, dimensions: Sequence[int], effective: Tensor | None, standardised: bool
) -> list[str]:
    """Said where one dimension holds half of the variance, or one direction outweighs the others together."""
    fix = "" if standardised else " Compare with standardise=True (--standardise): one variance for all dimensions."
    notes, n_sites = [], len(names.labels)
    if large := [i for i in range(n_sites) if shares[i] > DOMINANT]:
        notes.append(
            f"Outlier dimensions: {_where_one_dominates(names, large, shares, dimensions)} of the variance, and "
            f"linear CKA, Procrustes and Euclidean distances there are about little else.{fix}"
        )
    if effective is not None and (few := [i for i in range(n_sites) if effective[i] < FEW_DIRECTIONS]):
        notes.append(
            f"At {names.listed(few)} one direction outweighs all others (effective dimensions "
            f"{spanned(effective[few], '.2g')} of the covariance): a high CKA there says that this direction is "
            f"shared, no more.{fix}"
        )
    return notes


def _where_one_dominates(names: SiteNames, large: Sequence[int], shares: Tensor, dimensions: Sequence[int]) -> str:
    """Every model with its own dimensions: those of two models have nothing to do with each other."""
    words = []
    for part in names.sides(large):
        which = ", ".join(str(d) for d in dict.fromkeys(dimensions[i] for i in part))
        words.append(f"at {names.listed(part)} one dimension ({which}) holds {spanned(shares[part], '.0%')}")
    return ", ".join(words)


def token_notes(names: SiteNames, xs: Sequence[Float[Tensor, "n _"]]) -> list[str]:
    """Said where a hundredth of the tokens holds half of the variance."""
    found = []
    for i, x in enumerate(xs):
        squares = (x - x.mean(0)).square().sum(1)
        top = squares.topk(max(1, len(x) // 100)).values.sum()
        if len(x) >= 20 and top > DOMINANT * squares.sum():
            found.append(i)
    if not found:
        return []
    return [
        f"Outlier tokens: at {names.listed(found)} one token in a hundred holds over half of the variance; the "
        "similarity there is theirs."
    ]


def undefined_notes(names: SiteNames, constant: Sequence[bool], values: Float[Tensor, "s t"]) -> list[str]:
    """Said of sites that do not vary, and of others that have no number."""
    notes = []
    if still := [i for i, each in enumerate(constant) if each]:
        vary = "does not vary" if len(still) == 1 else "do not vary"
        notes.append(f"Similarity is not defined (NaN) with {names.listed(still)}, which {vary} over these tokens.")
    moving = [i for i, each in enumerate(constant) if not each]
    two = len(names.labels) > names.n_first
    rows = [i for i in moving if i < names.n_first]
    columns = [i for i in moving if i >= names.n_first] if two else rows
    empty = values[rows][:, [i - names.n_first * two for i in columns]].isnan()
    lost = [rows[i] for i in torch.nonzero(empty.all(1))[:, 0].tolist()] if columns else []
    if two and rows:
        lost += [columns[j] for j in torch.nonzero(empty.all(0))[:, 0].tolist()]
    if lost:
        notes.append(
            f"Similarity is not defined (NaN) with {names.listed(lost)}, whose estimated HSIC with itself is not above "
            "0 over these tokens; give more tokens, or a wider kernel."
        )
    return notes


def radial_notes(names: SiteNames, kernels: Sequence[Prepared]) -> list[str]:
    """Said where a radial kernel is so narrow that tokens resemble only themselves, or so wide that it is linear."""
    means = [kernel.shift for kernel in kernels]
    notes = []
    for found, what in (
        ([i for i, mean in enumerate(means) if mean < 0.01], "so narrow that a token resembles only itself"),
        ([i for i, mean in enumerate(means) if mean > 0.95], "so wide that it is nearly the linear one"),
    ):
        if found:
            notes.append(f"The radial kernel is {what} at {names.listed(found)}; choose another bandwidth.")
    return notes


def canonical_notes(n: int, sizes: Sequence[int], names: SiteNames, truncated: bool) -> list[str]:
    """Said of canonical correlations of few tokens, and of a truncation that leaves next to nothing."""
    notes = []
    if n < TOKENS_A_DIRECTION * max(sizes):
        chance = (max(sizes) / (n - 1)) ** 0.5
        notes.append(
            f"{n} tokens for up to {max(sizes)} directions: unrelated data would have a root mean square canonical "
            f"correlation of {chance:.2f}; give ten tokens or more a direction."
        )
    if few := [i for i, size in enumerate(sizes) if truncated and 1 <= size <= 2]:
        notes.append(
            f"At {names.listed(few)} one or two directions hold the variance that is kept, so the correlations are "
            "theirs."
        )
    return notes


def spanned(numbers: Tensor, spec: str) -> str:
    """The range of some numbers in words, "53% to 66%"; one number where both ends read the same."""
    low, high = (format(float(end), spec) for end in (numbers.min(), numbers.max()))
    return low if low == high else f"{low} to {high}"
