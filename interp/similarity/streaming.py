"""CKA over more tokens than fit in memory: the debiased HSIC averaged over minibatches, which keeps no token.

Nguyen et al. 2021, "Do Wide and Deep Networks Learn the Same Things?", section 3: HSIC_1 is unbiased over any
minibatch, so its mean over minibatches estimates the same as all tokens at once. That holds for minibatches of any
size, so the tokens that are left at the end make a shorter one, and the mean is weighted by size. It holds for
minibatches drawn from all tokens; here those of a pass of some thousand tokens are mixed, so a minibatch holds the
tokens of a dozen documents and tokens of one document meet more often than among all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import InputError
from interp.models import identity
from interp.runs import progress, provenance
from interp.similarity import failure_modes as found
from interp.similarity.arrays import same_precision
from interp.similarity.centred_kernels import FEWEST_TOKENS, aligned, hsic
from interp.similarity.kernel_sums import kernel_sums
from interp.similarity.kernels import Prepared, prepare_kernel
from interp.similarity.naming import SiteNames, site_names
from interp.similarity.planning import Reading
from interp.similarity.reading import described, document_of, outlier_note, passes, usual_tokens
from interp.similarity.similarity_map import SimilarityMap, build
from interp.similarity.uncertainty import MOST_GROUPS, contributions, interval
from interp.tasks.prompting import Prompts

SMALLEST = 16
FEW_DOCUMENTS = 8


@dataclass(frozen=True)
class Streaming:
    """How to stream. minibatch: tokens; the others as `interp.similarity.cka` has them."""

    minibatch: int
    kernel: str = "linear"
    bandwidth: float = 1.0
    standardise: bool = False
    skip_first: bool = True
    drop_outliers: bool = True
    n_resamples: int = 1000
    seed: int = 0


class _Accumulator:
    """HSIC of every minibatch; scales and widths are those of the first tokens that were seen."""

    def __init__(self, options: Streaming) -> None:
        self.options = options
        self.values: list[Float[Tensor, "s s"]] = []
        self.sizes: list[int] = []
        self.met: list[int] = []
        self.models: list[Prepared] = []
        self.scales: list[tuple[Tensor, Tensor]] = []
        self.effective: Tensor | None = None

    def begin(self, xs: Sequence[Float[Tensor, "n _"]]) -> None:
        """Fix mean, scale and width of every site."""
        if self.options.standardise:
            self.scales = [(x.mean(0), x.std(0)) for x in xs]
        kernel, bandwidth = self.options.kernel, self.options.bandwidth
        self.models = [prepare_kernel(self.scaled(i, x), kernel, bandwidth) for i, x in enumerate(xs)]

    def scaled(self, i: int, x: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """A site's rows, with variance 1 in every dimension where that was asked for."""
        if not self.scales:
            return x
        mean, size = self.scales[i]
        return torch.where(size > 1e-6 * size.max(), (x - mean) / size.clamp(min=1e-30), 0.0)

    def add(self, xs: Sequence[Float[Tensor, "b _"]], documents: Tensor) -> None:
        """One minibatch, and which documents its tokens are from."""
        kernels = [prepare_kernel(self.scaled(i, x), like=like) for i, (x, like) in enumerate(zip(xs, self.models))]
        sums = kernel_sums(kernels, torch.zeros(len(xs[0]), dtype=torch.long), way="blocks")
        self.values.append(hsic(*sums.all(), "debiased").cpu())
        self.sizes.append(len(documents))
        self.met.append(documents.unique().numel())


def check_minibatch(
    minibatch: int, estimator: str = "debiased", max_tokens: int | None = None, n_permutations: int | None = None
) -> None:
    """Refuse what cannot be streamed, as far as it is seen without texts."""
    if minibatch < SMALLEST:
        raise InputError(f"a minibatch of {minibatch} tokens says too little; use {SMALLEST} or more")
    if estimator != "debiased":
        raise InputError("minibatches are averaged without bias only for the debiased estimate; leave estimator out")
    if max_tokens is not None or n_permutations:
        raise InputError(
            "streaming takes all tokens and keeps none, so there is no permutation test; leave max_tokens and "
            "n_permutations (--permutations) out, or minibatch"
        )


def stream_cka(reading: Reading, texts: Prompts, options: Streaming) -> SimilarityMap:
    """CKA of all pairs of sites over texts of any length, a pass at a time. See `interp.similarity.cka`."""
    started = datetime.now()
    check_minibatch(options.minibatch)
    if reading.align == "document":
        raise InputError("documents are compared whole, without minibatches; leave minibatch out")
    if reading.plans[0].n_kept < 2 * options.minibatch:
        n = reading.plans[0].n_kept
        raise InputError(f"{n} tokens make fewer than two minibatches of {options.minibatch}; leave minibatch out")
    n_first, accumulator = len(reading.plans[0].sites), _Accumulator(options)
    cautions, n_unused = list[str](), 0
    both = [*(each.labels for each in reading.plans), ()]
    names = site_names(both[0], both[1], [identity(each.model) for each in reading.plans])
    for xs, documents in _mixed(reading, options):
        if len(documents) < FEWEST_TOKENS["debiased"]:  # only of the last ones there can be so few
            n_unused = len(documents)
            continue
        if not accumulator.models:
            accumulator.begin(xs)
            shares, dimensions = found.largest_dimension(xs)
            cautions = _first_notes(names, xs, shares, dimensions, accumulator, options)
        for rows in torch.arange(len(documents)).split(options.minibatch):
            accumulator.add([x[rows] for x in xs], documents[rows])
    if not accumulator.sizes:
        raise InputError("too many tokens are outliers to fill a minibatch; use drop_outliers=False (--keep-outliers)")
    n_seen, sizes = sum(accumulator.sizes), torch.tensor(accumulator.sizes)
    n_kept = reading.plans[0].n_kept
    n_outliers = n_kept - n_seen - n_unused
    notes = list(reading.notes) + ([outlier_note(n_outliers, n_kept, len(reading.plans))] if n_outliers else [])
    notes += _stream_notes(options, accumulator, n_unused)
    part = (slice(0, n_first), slice(n_first, None) if len(reading.plans) == 2 else slice(0, n_first))
    hsics = torch.stack(accumulator.values)
    values = aligned(_weighted(hsics, sizes))[part]
    cautions += found.undefined_notes(names, [each.spread == 0 for each in accumulator.models], values)
    about = described(reading, texts, options.skip_first, options.drop_outliers)
    models = about["models"]
    model = {**models[0], **({"other": models[1]} if len(models) == 2 else {})}
    return build(
        measure="cka",
        values=values,
        labels=reading.plans[0].labels,
        second_labels=reading.plans[1].labels if len(reading.plans) == 2 else (),
        ends=_ends(hsics, sizes, values, part, options) if options.n_resamples else None,
        chance={},
        sites={"largest_dimension": [shares[:n_first], shares[n_first:]] if len(reading.plans) == 2 else [shares]},
        notes=notes,
        cautions=cautions,
        settings=about["settings"]
        | {"kernel": options.kernel, "bandwidth": options.bandwidth, "estimator": "debiased"}
        | {"minibatch": options.minibatch, "n_minibatches": len(sizes), "standardise": options.standardise}
        | {
            "n": n_seen,
            "n_outliers": n_outliers,
            "n_unused": n_unused,
            "unit": "words" if reading.align == "word" else "tokens",
            "n_groups": min(MOST_GROUPS, len(sizes)),
        }
        | {"n_documents": len(reading.plans[0].kept), "n_permutations": 0, "n_resamples": options.n_resamples},
        provenance=provenance(model=model, task=about["task"], seed=options.seed, started=started),
    )


def _mixed(reading: Reading, options: Streaming) -> Iterator[tuple[list[Tensor], Tensor]]:
    """Tokens in whole minibatches, mixed within a pass: all sites, and their documents.

    What is left of a pass goes into the next. What is left at the end comes last, fewer than a minibatch.
    """
    generator = torch.Generator().manual_seed(options.seed)
    xs: list[Tensor] = []
    documents = torch.zeros(0, dtype=torch.long)
    with progress(len(reading.plans[0].kept), "streaming texts") as bar:
        for rows, read in passes(reading):
            new, of_new = same_precision([x for of_model in read for x in of_model]), document_of(reading, rows)
            if options.drop_outliers:
                usual = torch.stack([usual_tokens(x) for x in new]).all(0)
                new, of_new = [x[usual] for x in new], of_new[usual.cpu()]
            xs = [torch.cat(both) for both in zip(xs, new)] if xs else new
            documents = torch.cat([documents, of_new])
            order = torch.randperm(len(documents), generator=generator)
            n_whole = len(order) // options.minibatch * options.minibatch
            now, later = order[:n_whole], order[n_whole:]
            if n_whole:
                yield [x[now] for x in xs], documents[now]
            xs, documents = [x[later] for x in xs], documents[later]
            bar.advance(len(rows))
    if len(documents):
        yield xs, documents


def _weighted(hsics: Float[Tensor, "b s t"], sizes: Tensor) -> Float[Tensor, "s t"]:
    """The mean over minibatches, each weighted by its tokens."""
    return torch.einsum("b,bst->st", (sizes / sizes.sum()).to(hsics), hsics)


def _ends(
    hsics: Tensor, sizes: Tensor, values: Tensor, part: tuple[slice, slice], options: Streaming
) -> tuple[Tensor, Tensor]:
    """The interval from leaving out runs of minibatches, since those of a pass share documents."""
    n_groups = min(MOST_GROUPS, len(hsics))
    group = torch.arange(len(hsics)) * n_groups // len(hsics)
    kept = [group != g for g in range(n_groups)]
    without = torch.stack([aligned(_weighted(hsics[rows], sizes[rows])) for rows in kept])[(slice(None), *part)]
    of_group = torch.stack([sizes[~rows].sum() for rows in kept])
    return interval(values, contributions(values, without, of_group), options.n_resamples, options.seed)


def _first_notes(
    names: SiteNames,
    xs: Sequence[Tensor],
    shares: Tensor,
    dimensions: Sequence[int],
    accumulator: _Accumulator,
    options: Streaming,
) -> list[str]:
    """What is found in the first pass, as in all tokens where they are at hand."""
    notes = found.dominance_notes(names, shares, dimensions, None, options.standardise) + found.token_notes(names, xs)
    if options.kernel == "rbf":
        notes += found.radial_notes(names, accumulator.models)
    return notes


def _stream_notes(options: Streaming, accumulator: _Accumulator, n_unused: int) -> list[str]:
    met, sizes = accumulator.met, accumulator.sizes
    mean = sum(met) / len(met)
    last = f", the last of {sizes[-1]}" if sizes[-1] < options.minibatch else ""
    unused = f" {n_unused} tokens at the end were too few for another and are left out." if n_unused else ""
    notes = [
        f"Averaged over {len(sizes)} minibatches of {options.minibatch} tokens{last}, each of {mean:.0f} documents in "
        f"the mean: {sum(sizes)} tokens.{unused} Dimensions and tokens that dominate were looked for in the first "
        "pass. No token is kept, so there is no permutation test."
    ]
    if mean < FEW_DOCUMENTS:
        notes.append(
            "Minibatches of so few documents compare tokens within a text more than between texts; use shorter texts."
        )
    return notes
