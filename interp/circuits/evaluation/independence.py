"""Independence: without the circuit, the model's score says nothing about what it was (Shi et al. 2024, section 3.2).

The dependence is the Hilbert-Schmidt independence criterion with Gaussian kernels (Gretton et al. 2007, "A Kernel
Statistical Test of Independence"), widths by the median distance, and its p-value comes from permutations.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.circuits.evaluation.hypotheses import Outcome

N_PERMUTATIONS = 1000


def independence_test(
    complement: Float[Tensor, " example"],
    model: Float[Tensor, " example"],
    tie: float = 0.0,
    alpha: float = 0.05,
    seed: int = 0,
) -> Outcome:
    """H0: over prompts, the score of the model without the circuit's edges is independent of the whole model's.

    tie: a score that varies by less is constant: nothing can depend on it, which tells nothing about the circuit, and
    the test is undecided.
    """
    constant = min(float(values.max() - values.min()) for values in (complement, model)) <= tie
    if constant:
        statistic, p = 0.0, 1.0
    else:
        statistic, p = hsic_permutation(complement, model, N_PERMUTATIONS, seed)
    return Outcome(
        test="independence",
        statistic=statistic,
        p_value=p,
        n=len(model),
        supports=None if constant else p > alpha,
        null="the score without the circuit is independent of the model's",
        meaning="Hilbert-Schmidt independence criterion of the two scores",
        note="one of the scores is the same for all prompts" if constant else "",
    )


def hsic_permutation(
    x: Float[Tensor, " example"], y: Float[Tensor, " example"], n_permutations: int, seed: int
) -> tuple[float, float]:
    """The criterion, and (1 + permutations at least as dependent) / (1 + permutations)."""
    kernel, other = _centred(_gaussian(x)), _gaussian(y)
    n = len(x)
    statistic = float((kernel * other).sum()) / n**2
    generator = torch.Generator().manual_seed(seed)
    as_dependent = 0
    for _ in range(n_permutations):
        order = torch.randperm(n, generator=generator)
        as_dependent += float((kernel * other[order][:, order]).sum()) / n**2 >= statistic - 1e-12
    return statistic, (1 + as_dependent) / (1 + n_permutations)


def _gaussian(values: Float[Tensor, " example"]) -> Float[Tensor, "example example"]:
    values = values.double()
    distances = (values[:, None] - values).abs()
    positive = distances[distances > 0]
    # numpy's, since Tensor.median is the lower of the two middle ones where they are even in number.
    width = float(np.median(positive.numpy())) if len(positive) else 1.0
    return (-(distances**2) / (2 * width**2)).exp()


def _centred(kernel: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    return kernel - kernel.mean(0) - kernel.mean(1, keepdim=True) + kernel.mean()
