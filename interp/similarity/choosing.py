"""What was chosen is checked before anything is read: an option that cannot be is one sentence, and at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from interp.errors import InputError, unknown
from interp.similarity.centred_kernels import Estimator
from interp.similarity.dissimilarities import Distance
from interp.similarity.kernels import check_kernel
from interp.similarity.measuring import MEASURES, USED_BY, Options
from interp.similarity.neighbours import Metric, check_k
from interp.similarity.permuting import check_documents
from interp.similarity.subspaces import check_variance

_WORDS = {"estimator": Estimator, "distance": Distance, "metric": Metric}


def options_of(measure: str, given: Mapping[str, Any]) -> Options:
    """The options of a measure; raises InputError for what it has not, and for values that cannot be."""
    if measure not in MEASURES:
        raise unknown("measure", measure, MEASURES)
    known = USED_BY.get(measure, ())
    for name in given:
        if name not in known:
            raise unknown(f"option of {measure}", name, known)
    options = Options(**given)
    for name, words in _WORDS.items():
        if getattr(options, name) not in get_args(words):
            raise unknown(name, getattr(options, name), get_args(words))
    check_kernel(options.kernel, options.bandwidth)
    check_variance(options.variance)
    check_k(options.k)
    return options


def check_numbers(
    n_documents: int | None, n_permutations: int | None, n_resamples: int = 0, max_tokens: int | None = None
) -> None:
    """Refuse numbers of draws and tokens that cannot be. n_documents: None where nobody knows it yet."""
    for name, number in (("n_permutations", n_permutations or 0), ("n_resamples", n_resamples)):
        if number < 0:
            option = " (--permutations)" if name == "n_permutations" else ""
            raise InputError(f"{name}{option} is a number of draws, 0 for none, not {number}")
    if max_tokens is not None and max_tokens < 4:
        raise InputError(f"max_tokens={max_tokens} are too few to compare anything; give 4 or more")
    if n_permutations and n_documents is not None:
        check_documents(n_documents)
