"""Products of two thin matrices, taken apart without ever being multiplied out.

A head's OV circuit is [d_model, d_model] with rank d_head, and with the vocabulary on both sides [vocab, vocab]. For
M = A B with A [rows, inner] and B [inner, columns]:

    eigenvalues        those of B A [inner, inner], and zeros: if w B A = λ w, then (w B) M = λ (w B)
    singular values    A = Q_A R_A, Bᵀ = Q_B R_B: those of R_A R_Bᵀ [inner, inner], with vectors turned by Q_A and Q_B

Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits", appendix on low-rank eigenvalues and norms.
Everything is in double precision: these are products of four and more matrices.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Factored:
    """The matrix left @ right. right None: left is the whole matrix."""

    left: Float[Tensor, "rows inner"]
    right: Float[Tensor, "inner columns"] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the product."""
        return self.left.shape[0], (self.left if self.right is None else self.right).shape[1]

    @property
    def whole(self) -> Float[Tensor, "rows columns"]:
        """The product itself: for small matrices only."""
        return self.left if self.right is None else self.left @ self.right

    def singular(self) -> Singular:
        """The singular value decomposition: M = U diag(S) Vᵀ, values from large to small."""
        if self.right is None:
            U, S, Vh = torch.linalg.svd(self.left.double(), full_matrices=False)
            return Singular(U, S, Vh.mT)
        Q_left, R_left = torch.linalg.qr(self.left.double())
        Q_right, R_right = torch.linalg.qr(self.right.double().mT)
        U, S, Vh = torch.linalg.svd(R_left @ R_right.mT)
        return Singular(Q_left @ U, S, Q_right @ Vh.mT)

    def leading(self, of_rows: bool, n: int) -> Float[Tensor, "n size"]:
        """The n first singular vectors of one side alone, which for a matrix that is no product is much cheaper."""
        if self.right is not None:
            found = self.singular()
            return (found.U if of_rows else found.V).mT[:n]
        whole = self.left.double() if of_rows else self.left.double().mT
        return torch.linalg.eigh(whole @ whole.mT).eigenvectors.mT.flip(0)[:n]

    def eigenvalues(self) -> Complex[Tensor, " inner"]:
        """The eigenvalues that need not be zero, from large to small size. The product must be square."""
        return by_size(torch.linalg.eigvals(self.inner()))

    def inner(self) -> Float[Tensor, "inner inner"]:
        """right @ left, whose eigenvalues are those of left @ right."""
        return self.left.double() if self.right is None else self.right.double() @ self.left.double()

    def squared_norm(self) -> float:
        """The sum of squares of all entries."""
        if self.right is None:
            return float(self.left.double().pow(2).sum())
        gram_left = self.left.double().mT @ self.left.double()
        gram_right = self.right.double() @ self.right.double().mT
        return float((gram_left * gram_right).sum())


@dataclass(frozen=True, eq=False)
class Singular:
    """U [rows, direction], S [direction] from large to small, V [columns, direction], double precision.

    A pair (u, v) is as good as (-u, -v): which of the two it is, is arbitrary.
    """

    U: Float[Tensor, "rows direction"]
    S: Float[Tensor, " direction"]
    V: Float[Tensor, "columns direction"]


def by_size(eigenvalues: Complex[Tensor, " inner"]) -> Complex[Tensor, " inner"]:
    """From large to small size; of a conjugate pair the one above the real line first."""
    # Rounded, so that the sizes of a conjugate pair, equal but for rounding, do not decide its order.
    sizes = eigenvalues.abs() / eigenvalues.abs().amax().clamp(min=1e-300)
    keys = [(-round(size, 9), -above) for size, above in zip(sizes.tolist(), eigenvalues.imag.tolist())]
    return eigenvalues[torch.tensor(sorted(range(len(keys)), key=keys.__getitem__), dtype=torch.long)]
