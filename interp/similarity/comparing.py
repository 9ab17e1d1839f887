"""Comparing representations: any measure on what was read from models, or on plain arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

import torch
from torch import Tensor

from interp.errors import InputError
from interp.results import FEWEST, Provenance
from interp.runs import provenance
from interp.similarity import failure_modes as found
from interp.similarity.arrays import as_matrix, check_pair, same_precision
from interp.similarity.choosing import check_numbers, options_of
from interp.similarity.measuring import (
    BY_MATRIX,
    FEW_PAIRS,
    MOST_TOKENS,
    USED_BY,
    Measured,
    Options,
    measure_all,
    scorer,
)
from interp.similarity.permuting import FEWEST_DOCUMENTS, exchangeable, exchanged
from interp.similarity.planning import UNITS
from interp.similarity.reading import Representations
from interp.similarity.similarity_map import SimilarityMap, build
from interp.similarity.uncertainty import grouped, interval

N_PERMUTATIONS = 200
N_DECOMPOSED = 100
FEW_DECOMPOSED = 2
"""Draws by default where each decomposes every pair, and up to how many pairs."""
PERMUTED_TOKENS = 512
"""Tokens that the permutation test looks at, for measures that are products of matrices over tokens."""
FEW_GROUPS = 16
"""Groups of documents left out in turn where every one repeats all decompositions."""


def compare(
    representations: Representations,
    measure: str = "cka",
    *,
    standardise: bool = False,
    max_tokens: int | None = None,
    n_permutations: int | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
    **options: Any,
) -> SimilarityMap:
    """A measure of similarity for every pair of sites: within one model, or of the first with the second.

    measure: cka, cca, svcca, pwcca, procrustes, rsa or mutual_knn; options: of the measure (see
    `interp.similarity.Options`). standardise: give every dimension mean 0 and variance 1 first, so that none dominates.
    max_tokens: a random sample of so many (default: all; rsa 512 and mutual_knn 1024, whose work grows with the
    square). n_permutations: draws of the permutation test, n_resamples: of the interval over documents, 0 for none;
    by default 200 and 1000 where that is cheap, else a note says that they were left out. Raises InputError for unknown
    measures and options, too few tokens, and values that are not finite.
    """
    started = datetime.now()
    chosen = options_of(measure, options)
    check_numbers(representations.documents.unique().numel(), n_permutations, n_resamples, max_tokens)
    most = max_tokens or MOST_TOKENS.get(measure)
    data, notes = _sampled(representations, most, seed)
    data = _checked(data)
    if standardise:
        data = replace(data, first=tuple(map(_standardised, data.first)), second=tuple(map(_standardised, data.second)))
    n_pairs = len(data.first) * len(data.second or data.first)
    affordable = measure in BY_MATRIX or n_pairs <= FEW_PAIRS
    n_documents = int(data.documents.unique().numel())
    intervals = n_resamples > 0 and affordable and n_documents >= FEWEST
    if n_permutations is None:
        n_permutations = _usual_draws(measure, n_pairs, data)
    data, group = _grouped(data, FEW_GROUPS if measure not in ("cka", "mutual_knn") else None, seed)
    measured = _defined(measure_all(measure, data, group, chosen, intervals), _without_number(data))
    ends = None
    if measured.contributed is not None and intervals:
        ends = interval(measured.values.cpu(), measured.contributed.cpu(), n_resamples, seed)
    chance, tested = _chance(measure, data, chosen, n_permutations, seed)
    n_groups = int(group.max()) + 1
    notes += _missing(n_pairs, n_documents, affordable, intervals=n_resamples > 0, tested=bool(chance))
    per_site, found_notes = _may_dominate(data, measured, standardise)
    n_first = len(data.first)
    settings = {name: asdict(chosen)[name] for name in USED_BY.get(measure, ())}
    settings |= {"standardise": standardise, "n": data.n, "max_tokens": most, "n_groups": n_groups}
    settings |= {"n_permutations": n_permutations, "n_resamples": n_resamples if intervals else 0}
    settings |= {"n_documents": n_documents, **tested}
    settings |= {"unit": UNITS.get(str(data.settings.get("align")), "tokens")}
    return build(
        measure=measure,
        values=measured.values.cpu(),
        labels=data.labels,
        second_labels=data.second_labels,
        ends=ends,
        chance=chance,
        sites={name: [part[:n_first], part[n_first:]] if data.second else [part] for name, part in per_site.items()},
        notes=[*data.notes, *notes],
        cautions=[*found_notes, *measured.notes],
        settings={**data.settings, **settings},
        provenance=_provenance(data, seed, min(started, data.started)),
    )


def _missing(n_pairs: int, n_documents: int, affordable: bool, *, intervals: bool, tested: bool) -> list[str]:
    """Why there are no intervals, and no test, where one would expect them. intervals: were asked for."""
    if n_documents < FEWEST:
        some = f"{n_documents} documents are" if n_documents > 1 else "one document is"
        return [
            f"No intervals and no permutation test: {some} too few for any; give {FEWEST} texts or more. How these "
            "numbers would vary with other texts is unknown."
        ]
    if intervals and not affordable:
        return [
            f"{n_pairs} pairs, each with its own decomposition: without intervals"
            + ("" if tested else " and permutation test")
            + f"; choose at most {FEW_PAIRS} pairs of sites to have them."
        ]
    return []


def _may_dominate(data: Representations, measured: Measured, standardise: bool) -> tuple[dict[str, Tensor], list[str]]:
    """Of every site what its measures may be about alone, and that in words where it is so."""
    xs, names = [*data.first, *data.second], data.names
    shares, dimensions = found.largest_dimension(xs)
    notes = found.dominance_notes(names, shares, dimensions, measured.effective, standardise)
    notes += found.token_notes(names, xs)
    notes += found.undefined_notes(names, _constant(data), measured.values.cpu())
    per_site = {"largest_dimension": shares}
    if measured.effective is not None:
        per_site["effective_dimensions"] = measured.effective
    return per_site, notes


def _usual_draws(measure: str, n_pairs: int, data: Representations) -> int:
    """Draws of the permutation test where nobody said how many; none for too few documents."""
    if data.documents.unique().numel() < FEWEST_DOCUMENTS:
        return 0
    return N_PERMUTATIONS if measure in BY_MATRIX else N_DECOMPOSED if n_pairs <= FEW_DECOMPOSED else 0


def compare_arrays(
    first: Any,
    second: Any = None,
    measure: str = "cka",
    *,
    documents: Iterable[Any] | None = None,
    **options: Any,
) -> SimilarityMap:
    """The same on arrays of your own: one matrix [n, d] on each side, or a mapping of names to matrices.

    first alone compares its matrices with each other. documents: which document each row is from, any labels; the rows
    of a document are resampled and exchanged together (default: every row is by itself). options: those of `compare`.
    Raises InputError when the matrices differ in their number of rows.
    """
    named = [_named(side, name) for side, name in ((first, "x"), (second, "y")) if name == "x" or side is not None]
    matrices = [matrix for side in named for matrix in side.values()]
    for matrix in matrices[1:]:
        check_pair(matrices[0], matrix)
    n = len(matrices[0])
    label = torch.arange(n) if documents is None else _document_labels(documents, n)
    order = label.argsort(stable=True)
    data = Representations(
        first=tuple(named[0].values()),
        labels=tuple(named[0]),
        documents=label,
        second=tuple(named[1].values()) if len(named) == 2 else (),
        second_labels=tuple(named[1]) if len(named) == 2 else (),
        settings={"align": "rows"},
    )
    return compare(data.take(order), measure, **options)


def _sampled(data: Representations, most: int | None, seed: int) -> tuple[Representations, list[str]]:
    if most is None or data.n <= most:
        return data, []
    rows = torch.randperm(data.n, generator=torch.Generator().manual_seed(seed))[:most].sort().values
    return data.take(rows), [f"A random sample of {most} of {data.n} tokens."]


def _checked(data: Representations) -> Representations:
    """The same in one precision, if it can be compared at all."""
    if data.n < 4:
        raise InputError(f"{data.n} tokens are too few to compare anything; give more texts")
    for i, x in enumerate((*data.first, *data.second)):
        where = data.names.listed([i])
        if len(x) != data.n:
            raise InputError(f"{where} has {len(x)} rows and there are {data.n} tokens; every row must be one token")
        if not bool(x.isfinite().all()):
            raise InputError(f"the representation at {where} holds NaN or infinite values; leave such tokens out")
    xs = same_precision((*data.first, *data.second))
    n_first = len(data.first)
    return replace(data, first=tuple(xs[:n_first]), second=tuple(xs[n_first:]))


def _constant(data: Representations) -> list[bool]:
    """Of every site, whether it does not vary: some measures would give a number for it, which means nothing."""
    return [bool((x == x[0]).all()) for x in (*data.first, *data.second)]


def _without_number(data: Representations) -> Tensor:
    """Of every pair, whether one of the two does not vary: Bool[s, t]."""
    constant, n_first = torch.tensor(_constant(data)), len(data.first)
    return constant[:n_first, None] | (constant[n_first:] if data.second else constant)


def _defined(measured: Measured, none: Tensor) -> Measured:
    """The same with NaN for pairs that have no number."""
    given = measured.contributed
    contributed = None if given is None else given.masked_fill(none.to(given.device), torch.nan)
    return replace(
        measured,
        values=measured.values.masked_fill(none.to(measured.values.device), torch.nan),
        contributed=contributed,
    )


def _standardised(x: Tensor) -> Tensor:
    """Every dimension with mean 0 and variance 1; those that do not vary stay 0."""
    centred = x - x.mean(0)
    size = centred.square().mean(0).sqrt()
    return torch.where(size > 1e-6 * size.max(), centred / size.clamp(min=1e-30), 0.0)


def _grouped(data: Representations, most: int | None, seed: int) -> tuple[Representations, Tensor]:
    """Tokens in the order of their groups, and the groups: documents, or unions of them where there are many."""
    group = grouped(data.documents, seed=seed) if most is None else grouped(data.documents, most, seed)
    if bool((group[1:] >= group[:-1]).all()):
        return data, group
    order = group.argsort(stable=True)
    return data.take(order), group[order]


def _chance(
    measure: str, data: Representations, options: Options, n: int, seed: int
) -> tuple[dict[str, Tensor], dict[str, int]]:
    """What exchanging documents gives, and over how many tokens and documents."""
    if n == 0:
        return {}, {}
    by_document = data.take(data.documents.argsort(stable=True))
    layout = exchangeable(by_document.documents, PERMUTED_TOKENS if measure in BY_MATRIX else None, seed)
    # The kernels of both sides see the same tokens, and a document's rows stay together.
    chosen = by_document.take(layout.flatten())
    score, none = scorer(measure, chosen, options), _without_number(chosen)
    chance = exchanged(
        lambda order: (drawn := score(order)).masked_fill(none.to(drawn.device), torch.nan),
        layout,
        n,
        seed,
        one_model=not data.second,
    )
    found = {"p_value": chance.p_value, "p_adjusted": chance.p_adjusted}
    found |= {"chance_mean": chance.mean, "chance_high": chance.high}
    tested = {"n_tested_tokens": chance.n_tokens, "n_tested_documents": chance.n_documents}
    return {name: data.cpu() for name, data in found.items()}, tested


def _provenance(data: Representations, seed: int, started: datetime) -> Provenance:
    if not data.models:
        return provenance(model={}, seed=seed, started=started)
    extra = {"other": data.models[1]} if len(data.models) == 2 else {}
    return provenance(model={**data.models[0], **extra}, task=data.task, seed=seed, started=started)


def _named(side: Any, name: str) -> dict[str | int, Tensor]:
    if side is None:
        raise InputError(f"{name} is None; give a matrix [tokens, dimensions], or a mapping of names to matrices")
    if isinstance(side, Mapping):
        if not side:
            raise InputError("give at least one matrix a side")
        return {label: as_matrix(matrix, str(label)) for label, matrix in side.items()}
    return {name: as_matrix(side, name)}


def _document_labels(documents: Iterable[Any], n: int) -> Tensor:
    given = documents.tolist() if isinstance(documents, Tensor) else list(documents)
    if len(given) != n:
        raise InputError(f"{len(given)} document labels were given for {n} rows; give one a row")
    place = {label: i for i, label in enumerate(dict.fromkeys(given))}
    return torch.tensor([place[label] for label in given])
