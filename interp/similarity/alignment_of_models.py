"""CKA of models in one call: reading and comparing, or streaming where nothing can be kept."""

from __future__ import annotations

from typing import Any

from interp.similarity.choosing import check_numbers, options_of
from interp.similarity.comparing import compare
from interp.similarity.planning import Sites, plan
from interp.similarity.reading import MEMORY_BUDGET, represent
from interp.similarity.similarity_map import SimilarityMap
from interp.similarity.streaming import Streaming, check_minibatch, stream_cka
from interp.tasks.prompting import Prompts


def cka(
    model: Any,
    texts: Prompts,
    other: Any = None,
    *,
    sites: Sites = None,
    other_sites: Sites = None,
    kernel: str = "linear",
    bandwidth: float = 1.0,
    estimator: str = "debiased",
    minibatch: int | None = None,
    align: str = "auto",
    standardise: bool = False,
    prepend_bos: bool = False,
    skip_first: bool = True,
    drop_outliers: bool = True,
    max_tokens: int | None = None,
    n_permutations: int | None = None,
    n_resamples: int = 1000,
    memory_budget: int = MEMORY_BUDGET,
    seed: int = 0,
) -> SimilarityMap:
    """Centred kernel alignment of all pairs of sites, of one model or of two, from one forward pass of each.

    The arguments are those of `represent` (what is read and how tokens are aligned) and of `compare` (the measure, its
    interval and test). minibatch: stream the texts and average the debiased HSIC over minibatches of so many tokens,
    which keeps no token (see `interp.similarity.streaming`). For other measures, or several from one pass:
    `compare(represent(model, texts), "svcca")`. Kornblith et al. 2019; Nguyen et al. 2021.
    """
    options_of("cka", {"kernel": kernel, "bandwidth": bandwidth, "estimator": estimator})
    check_numbers(None, n_permutations, n_resamples, max_tokens)
    if minibatch is not None:
        check_minibatch(minibatch, estimator, max_tokens, n_permutations)
    reading = {"sites": sites, "other_sites": other_sites, "align": align, "prepend_bos": prepend_bos}
    if minibatch is None:
        found = represent(
            model,
            texts,
            other,
            **reading,  # type: ignore[arg-type]
            skip_first=skip_first,
            drop_outliers=drop_outliers,
            memory_budget=memory_budget,
        )
        return compare(
            found,
            "cka",
            standardise=standardise,
            max_tokens=max_tokens,
            n_permutations=n_permutations,
            n_resamples=n_resamples,
            seed=seed,
            kernel=kernel,
            bandwidth=bandwidth,
            estimator=estimator,
        )
    options = Streaming(minibatch, kernel, bandwidth, standardise, skip_first, drop_outliers, n_resamples, seed)
    return stream_cka(plan(model, texts, other, **reading, skip_first=skip_first), texts, options)  # type: ignore[arg-type]
