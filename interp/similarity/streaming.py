"""CKA over more tokens than fit in memory: the debiased HSIC averaged over minibatches, which keeps no token.

Nguyen et al. 2021, "Do Wide and Deep Networks Learn the Same Things?", section 3: HSIC_1 is unbiased over any
minibatch, so its mean over minibatches estimates the same as all tokens at once. That holds for minibatches drawn
from all tokens; here those of a pass of some thousand tokens are mixed, so a minibatch holds the tokens of a dozen
documents and tokens of one document meet more often than among all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import InputError
from interp.runs import progress, provenance
from interp.similarity import failure_modes as found
from interp.similarity.centred_kernels import aligned, hsic
from interp.similarity.kernel_sums import kernel_sums
from interp.similarity.kernels import Prepared, prepare_kernel
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

    def add(self, xs: Sequence[Float[Tensor, "b _"]]) -> None:
        """One minibatch."""
        kernels = [prepare_kernel(self.scaled(i, x), like=like) for i, (x, like) in enumerate(zip(xs, self.models))]
        sums = kernel_sums(kernels, torch.zeros(len(xs[0]), dtype=torch.long), way="blocks")
        self.values.append(hsic(*sums.all(), "debiased").cpu())


def stream_cka(reading: Reading, texts: Prompts, options: Streaming) -> SimilarityMap:
    """CKA of all pairs of sites over texts of any length, a pass at a time. See `interp.similarity.cka`."""
    started = datetime.now()
    if options.minibatch < SMALLEST:
        raise InputError(f"a minibatch of {options.minibatch} tokens says too little; use {SMALLEST} or more")
    if reading.align == "document":
        raise InputError("documents are compared whole, without minibatches; leave minibatch out")
    if reading.plans[0].n_kept < 2 * options.minibatch:
        n = reading.plans[0].n_kept
        raise InputError(f"{n} tokens make fewer than two minibatches of {options.minibatch}; leave minibatch out")
    n_first, accumulator = len(reading.plans[0].sites), _Accumulator(options)
    notes, met, dropped, n_seen = list(reading.notes), [], 0, 0
    cautions: list[str] = []
    labels = [label for each in reading.plans for label in each.labels]
    for xs, documents, n_dropped in _mixed(reading, options):
        dropped += n_dropped
        if not accumulator.models:
            accumulator.begin(xs)
            shares, dimensions = found.largest_dimension(xs)
            cautions = _first_notes(labels, xs, shares, dimensions, accumulator, options)
        for rows in torch.arange(len(documents)).split(options.minibatch):
            accumulator.add([x[rows] for x in xs])
            met.append(documents[rows].unique().numel())
            n_seen += len(rows)
    if dropped:
        notes.append(outlier_note(dropped, n_seen + dropped))
    notes += _stream_notes(options, met, len(met))
    part = (slice(0, n_first), slice(n_first, None) if len(reading.plans) == 2 else slice(0, n_first))
    hsics = torch.stack(accumulator.values)
    values = aligned(hsics.mean(0))[part]
    about = described(reading, texts, options.skip_first, options.drop_outliers)
    models = about["models"]
    model = {**models[0], **({"other": models[1]} if len(models) == 2 else {})}
    return build(
        measure="cka",
        values=values,
        labels=reading.plans[0].labels,
        second_labels=reading.plans[1].labels if len(reading.plans) == 2 else (),
        ends=_ends(hsics, values, part, options) if options.n_resamples else None,
        chance={},
        sites={"largest_dimension": [shares[:n_first], shares[n_first:]] if len(reading.plans) == 2 else [shares]},
        notes=notes,
        cautions=cautions,
        settings=about["settings"]
        | {"kernel": options.kernel, "bandwidth": options.bandwidth, "estimator": "debiased"}
        | {"minibatch": options.minibatch, "n_minibatches": len(met), "standardise": options.standardise}
        | {
            "n": n_seen,
            "unit": "words" if reading.align == "word" else "tokens",
            "n_groups": min(MOST_GROUPS, len(met)),
        }
        | {"n_documents": len(reading.plans[0].kept), "n_permutations": 0, "n_resamples": options.n_resamples},
        provenance=provenance(model=model, task=about["task"], seed=options.seed, started=started),
    )


def _mixed(reading: Reading, options: Streaming) -> Iterator[tuple[list[Tensor], Tensor, int]]:
    """Tokens in whole minibatches, mixed within a pass: all sites, their documents, and how many were left out.

    What is left of a pass goes into the next; what is left at the end is too few for a minibatch and is not used.
    """
    generator = torch.Generator().manual_seed(options.seed)
    left: tuple[list[Tensor], Tensor] | None = None
    with progress(len(reading.plans[0].kept), "streaming texts") as bar:
        for rows, read in passes(reading):
            xs, documents = [x for of_model in read for x in of_model], document_of(reading, rows)
            n_read = len(documents)
            if options.drop_outliers:
                usual = torch.stack([usual_tokens(x) for x in xs]).all(0)
                xs, documents = [x[usual] for x in xs], documents[usual.cpu()]
            dropped = n_read - len(documents)
            if left is not None:
                xs, documents = [torch.cat(both) for both in zip(left[0], xs)], torch.cat([left[1], documents])
            order = torch.randperm(len(documents), generator=generator)
            n_whole = len(order) // options.minibatch * options.minibatch
            now, later = order[:n_whole], order[n_whole:]
            left = [x[later] for x in xs], documents[later]
            if n_whole:
                yield [x[now] for x in xs], documents[now], dropped
            bar.advance(len(rows))


def _ends(hsics: Tensor, values: Tensor, part: tuple[slice, slice], options: Streaming) -> tuple[Tensor, Tensor]:
    """The interval from leaving out runs of minibatches, since those of a pass share documents."""
    n_groups = min(MOST_GROUPS, len(hsics))
    group = torch.arange(len(hsics)) * n_groups // len(hsics)
    members = torch.nn.functional.one_hot(group, n_groups).T.double()
    by_group = torch.einsum("gb,bst->gst", members, hsics)
    sizes = group.bincount(minlength=n_groups)
    without = aligned((hsics.sum(0) - by_group) / (len(hsics) - sizes).view(-1, 1, 1))[(slice(None), *part)]
    return interval(values, contributions(values, without, sizes), options.n_resamples, options.seed)


def _first_notes(
    labels: Sequence[str | int],
    xs: Sequence[Tensor],
    shares: Tensor,
    dimensions: Sequence[int],
    accumulator: _Accumulator,
    options: Streaming,
) -> list[str]:
    """What is found in the first pass, as in all tokens where they are at hand."""
    notes = found.dominance_notes(labels, shares, dimensions, None, options.standardise) + found.token_notes(labels, xs)
    if options.kernel == "rbf":
        notes += found.radial_notes(labels, accumulator.models)
    return notes


def _stream_notes(options: Streaming, met: Sequence[int], n_minibatches: int) -> list[str]:
    mean = sum(met) / len(met)
    notes = [
        f"Averaged over {n_minibatches} minibatches of {options.minibatch} tokens, each of {mean:.0f} documents in the "
        "mean; dimensions and tokens that dominate were looked for in the first pass. No token is kept, so there is no "
        "permutation test."
    ]
    if mean < FEW_DOCUMENTS:
        notes.append(
            "Minibatches of so few documents compare tokens within a text more than between texts; use shorter texts."
        )
    return notes
