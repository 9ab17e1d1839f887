"""The measures on two plain arrays, each as one number.

>>> interp.similarity.cka_of(x, y)                              # x [n, d1], y [n, d2]: numpy arrays or tensors
>>> interp.similarity.compare_arrays(x, y, documents=texts)     # with interval, permutation test and notes

Numbers of any kind will do, also of different kinds: both sides are computed with in the wider of float32 and float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import InputError
from interp.similarity.centred_kernels import cka_from_sums
from interp.similarity.dissimilarities import distances_between, standard_ranks
from interp.similarity.kernel_sums import kernel_sums
from interp.similarity.kernels import prepare_kernel
from interp.similarity.neighbours import neighbour_matrix, shared
from interp.similarity.rotations import rotated_overlap, unit_rows
from interp.similarity.subspaces import basis_of, correlations_between, mean_correlation, weighted_correlation

FEWEST_ROWS = 4
_HELD_BY_FLOAT32 = (torch.float32, torch.float16, torch.bfloat16, torch.int8, torch.uint8, torch.int16, torch.bool)


def cka_of(x: Any, y: Any, kernel: str = "linear", estimator: str = "debiased", bandwidth: float = 1.0) -> float:
    """Centred kernel alignment of two representations of the same n tokens, [n, d1] and [n, d2]."""
    a, b = _pair(x, y)
    kernels = [prepare_kernel(rows, kernel, bandwidth) for rows in (a, b)]
    _check_varies(*(each.spread for each in kernels))
    return float(cka_from_sums(kernel_sums(kernels, torch.zeros(len(a), dtype=torch.long)), estimator)[0, 1])


def canonical_correlations(x: Any, y: Any, variance: float = 1.0) -> Float[Tensor, " k"]:
    """All canonical correlations, largest first; of the principal components that hold `variance` of each side's."""
    a, b = _pair(x, y)
    return correlations_between(basis_of(a, variance), basis_of(b, variance))


def cca_of(x: Any, y: Any) -> float:
    """The mean canonical correlation."""
    return float(canonical_correlations(x, y).mean())


def svcca_of(x: Any, y: Any, variance: float = 0.99) -> float:
    """The mean canonical correlation of the principal components that hold `variance` of each side's variance."""
    a, b = _pair(x, y)
    return mean_correlation(basis_of(a, variance), basis_of(b, variance))


def pwcca_of(x: Any, y: Any) -> float:
    """Canonical correlations weighted by what each direction accounts for in x: not symmetric."""
    a, b = _pair(x, y)
    return weighted_correlation(basis_of(a), basis_of(b))


def procrustes_of(x: Any, y: Any) -> float:
    """The cosine that is left after the best rotation; the squared Procrustes distance is 2 - 2 times this."""
    a, b = _pair(x, y)
    return rotated_overlap(unit_rows(a), unit_rows(b))


def rsa_of(x: Any, y: Any, distance: str = "correlation") -> float:
    """The rank correlation of the distances between tokens."""
    a, b = (standard_ranks(distances_between(rows, distance)) for rows in _pair(x, y))
    return float((a.double() * b.double()).sum())


def mutual_knn_of(x: Any, y: Any, k: int = 10, metric: str = "cosine") -> float:
    """The share of its k nearest neighbours that a token has in common between x and y, in the mean.

    metric: nearest by the cosine of the rows as they are (Huh et al. 2024), or by "euclidean" distance, which gives
    other values where rows differ in length.
    """
    a, b = (neighbour_matrix(rows, k, metric) for rows in _pair(x, y))
    return float(shared(a[None], b[None], k).mean())


def as_matrix(given: Any, name: str = "x") -> Float[Tensor, "n d"]:
    """Numbers of any kind, as a numpy array, tensor, data frame or list of rows, as a matrix [n, d] to compute with.

    float64 and integers that float32 does not hold stay exact as float64; all other numbers become float32. Raises
    InputError for what is no matrix of finite numbers, and for fewer than four rows.
    """
    x = given.detach() if isinstance(given, Tensor) else _from_numpy(given, name)
    if x.is_complex():
        raise InputError(f"{name} holds complex numbers; give real ones, such as real and imaginary parts side by side")
    if x.ndim != 2 or 0 in x.shape or x.layout != torch.strided:
        what = f"of shape {tuple(x.shape)}" + ("" if x.layout == torch.strided else " and sparse")
        raise InputError(f"{name} must be a dense matrix [tokens, dimensions], not {what}")
    if len(x) < FEWEST_ROWS:
        raise InputError(f"{name} has {len(x)} rows; comparing needs {FEWEST_ROWS} tokens or more")
    x = x.to(torch.float32 if x.dtype in _HELD_BY_FLOAT32 else torch.float64)
    if not bool(x.isfinite().all()):
        raise InputError(f"{name} holds NaN or infinite values; leave such rows out of both sides")
    return x


def _from_numpy(given: Any, name: str) -> Tensor:
    try:
        array = np.asarray(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{name} must be a matrix [tokens, dimensions], with rows of equal length") from error
    if array.dtype.kind not in "biufc":
        raise InputError(f"{name} must be a matrix of numbers [tokens, dimensions], not of type {array.dtype}")
    small = array.dtype.kind == "b" or (array.dtype.kind in "iuf" and array.dtype.itemsize <= 2)
    kind = np.float32 if small or array.dtype == np.float32 else np.float64
    # torch takes no array that is read backwards, and warns of one that must not be written to: those are copied.
    return torch.from_numpy(np.require(array, np.complex128 if array.dtype.kind == "c" else kind, ["C", "W"]))


def same_precision(matrices: Sequence[Tensor]) -> list[Tensor]:
    """Matrices in the widest floating point that any of them has: float64, else float32 (half precision is widened)."""
    wide = any(matrix.dtype == torch.float64 for matrix in matrices)
    return [matrix.to(torch.float64 if wide else torch.float32) for matrix in matrices]


def check_pair(x: Tensor, y: Tensor) -> None:
    """Refuse matrices of different numbers of tokens."""
    if len(x) != len(y):
        raise InputError(
            f"unequal numbers of samples: {len(x)} rows and {len(y)}; row i of both must be the same token "
            "(interp.similarity.represent aligns two tokenizers)"
        )


def _pair(x: Any, y: Any) -> tuple[Tensor, Tensor]:
    a, b = as_matrix(x, "x"), as_matrix(y, "y")
    check_pair(a, b)
    a, b = same_precision((a, b))
    _check_varies(*(float((rows - rows[0]).abs().max()) for rows in (a, b)))
    return a, b


def _check_varies(*spread: float) -> None:
    for name, value in zip(("x", "y"), spread):
        if value == 0:
            raise InputError(f"{name} does not vary: all rows are the same, and similarity is not defined")
