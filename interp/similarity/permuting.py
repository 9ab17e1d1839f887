"""Is there any correspondence at all? The permutation test, in which documents exchange their representations.

Which text a token is from is shuffled on one side: what two representations still share then is not about the texts.
Whole documents are exchanged, token by token at the same place in them: tokens of a document are no independent
samples, and what both representations know of the position counts as chance. For measures that are inner products of
two matrices over tokens (CKA, RSA, mutual neighbours) all pairs of representations are tested in one product a
permutation (the Mantel test; for CKA see Gretton et al. 2005, "Measuring Statistical Dependence with Hilbert-Schmidt
Norms").

Many pairs are tested at once, and among hundreds some exceed 95 % of what chance gives by chance alone. Every exchange
serves all pairs, so what the largest of all pairs is under it is at hand: Westfall & Young 1993, "Resampling-Based
Multiple Testing", section 2.3 (one step, the maximum over pairs of the measure less its mean over the exchanges, in
their standard deviations), which keeps the chance of even one false finding at the level, however the pairs depend on
each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import InputError
from interp.runs import progress

FEWEST_DOCUMENTS = 5
"""Four documents have 24 orders: no p-value below 0.05 would come of most of them."""


@dataclass(frozen=True, eq=False)
class Chance:
    """What exchanging documents gives: p-values, and the mean and 95th percentile of the measure, for every pair.

    p_value counts the true order as one of the draws, so it is at least 1 / (draws + 1). p_adjusted: the same,
    corrected for the number of pairs.
    """

    p_value: Float[Tensor, "s t"]
    p_adjusted: Float[Tensor, "s t"]
    mean: Float[Tensor, "s t"]
    high: Float[Tensor, "s t"]
    n_tokens: int
    n_documents: int


def exchangeable(documents: Int[Tensor, " n"], most: int | None = None, seed: int = 0) -> Int[Tensor, "document m"]:
    """Tokens of documents that can be exchanged: as many of each, at the same places, `most` in all.

    Documents shorter than what serves best are left out (a few short ones would cost all others their tokens), places
    are spread evenly. Raises InputError for fewer than five documents.
    """
    _, counts = documents.unique(return_counts=True)
    check_documents(len(counts))
    starts = counts.cumsum(0) - counts
    lengths = counts.unique()
    enough = torch.stack([(counts >= length).sum() for length in lengths])
    worth = lengths * enough * (enough >= FEWEST_DOCUMENTS)
    length = int(lengths[worth.argmax()])
    chosen = torch.nonzero(counts >= length)[:, 0]
    most = most or len(documents)
    if len(chosen) > most:
        generator = torch.Generator().manual_seed(seed)
        chosen = chosen[torch.randperm(len(chosen), generator=generator)[:most].sort().values]
    m = max(1, min(length, most // len(chosen)))
    places = torch.linspace(0, length - 1, m).round().long()
    return starts[chosen][:, None] + places[None]


def check_documents(n: int) -> None:
    """Refuse fewer than five documents."""
    if n < FEWEST_DOCUMENTS:
        raise InputError(
            f"a permutation test exchanges documents, and {n} are too few; give {FEWEST_DOCUMENTS} texts or more, or "
            "n_permutations=0 (--permutations 0)"
        )


def orders(layout: Int[Tensor, "document m"], n: int, seed: int) -> Iterator[Int[Tensor, " rows"]]:
    """`n` random orders of the rows 0 .. document * m - 1 that exchange whole documents."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.arange(layout.numel()).view(layout.shape)
    for _ in range(n):
        yield rows[torch.randperm(len(rows), generator=generator)].flatten()


def exchanged(
    score: Callable[[Tensor | None], Float[Tensor, "s t"]],
    layout: Int[Tensor, "document m"],
    n: int,
    seed: int,
    one_model: bool = False,
) -> Chance:
    """Chance, from a function that scores all pairs with the second side's rows in an order (None: as they are).

    one_model: both sides are the same sites; a site with itself is then no question, and corrects nothing.
    """
    true = score(None)
    exchanges = progress(orders(layout, n, seed), "permutation test: exchanging documents", total=n)
    draws = torch.stack([score(order) for order in exchanges])
    # Orders that change nothing, or nearly so, must count as no smaller than the truth despite rounding.
    rounding = 1e-6 * true.abs().clamp(min=1e-3)
    beaten = (draws >= true - rounding).sum(0)
    p_value = torch.where(true.isnan(), torch.nan, (1 + beaten.double()) / (n + 1))
    high = torch.quantile(draws.double(), 0.95, dim=0)
    p_adjusted = corrected(true, draws, rounding, one_model)
    return Chance(p_value, p_adjusted, draws.mean(0), high, layout.numel(), len(layout))


def corrected(
    true: Float[Tensor, "s t"], draws: Float[Tensor, "draw s t"], rounding: Float[Tensor, "s t"], one_model: bool
) -> Float[Tensor, "s t"]:
    """p-values of all pairs, corrected for their number by the largest of all pairs in every draw. NaN where undefined.

    Mean and standard deviation are over the draws and the true order alike: under the hypothesis the true order is one
    of them, so the test stays exact.
    """
    both = torch.cat([true[None], draws]).double()
    spread = both.std(0)
    asked = ~true.isnan() & (spread > rounding)  # what no exchange changes can show nothing
    if one_model:
        asked &= ~torch.eye(len(true), dtype=torch.bool, device=true.device)
    standard = torch.where(asked, (both - both.mean(0)) / spread, -torch.inf)
    largest = standard[1:].flatten(1).amax(1)
    beaten = (largest[:, None, None] >= standard[0] - rounding / spread).sum(0)
    p = (1 + beaten.double()) / (len(draws) + 1)
    p[~asked] = 1.0
    p = torch.where(true.isnan(), torch.nan, p)
    return p.fill_diagonal_(torch.nan) if one_model else p


def matrix_score(
    first: Float[Tensor, "s n n"], second: Float[Tensor, "t n n"], scale: float = 1.0
) -> Callable[[Tensor | None], Float[Tensor, "s t"]]:
    """Inner products of all pairs of matrices over tokens, the second's tokens in some order."""
    flat = first.flatten(1)
    # Filled anew for every order: new ones of some 30 MB each would leave holes in the heap between the small results
    # that are kept, and memory would grow by one a draw.
    rows, moved = (torch.empty_like(second) for _ in range(2))

    def score(order: Tensor | None) -> Tensor:
        if order is None:
            return (flat @ second.flatten(1).T).double() * scale
        index = order.to(second.device)
        torch.index_select(second, 1, index, out=rows)
        torch.index_select(rows, 2, index, out=moved)
        return (flat @ moved.flatten(1).T).double() * scale

    return score


def centred_matrix(kernel: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """A kernel U-centred and scaled to length 1: products of two such are debiased CKA.

    Székely & Rizzo 2014, "Partial distance correlation with methods for dissimilarities", definition 2; NaN where the
    representation does not vary.
    """
    n = len(kernel)
    off = kernel.double().clone().fill_diagonal_(0)
    rows = off.sum(1) / (n - 2)
    centred = off - rows[:, None] - rows[None] + off.sum() / ((n - 1) * (n - 2))
    centred.fill_diagonal_(0)
    size = torch.linalg.vector_norm(centred)
    return (centred / size if size > 1e-12 * n else torch.full_like(centred, torch.nan)).float()
