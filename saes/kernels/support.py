"""`SparseSupport` and `DenseSupport`: which latents are active, and the four products that a training step needs.

One token activates k of d_sae latents, so a step needs one dense product (the encoder's) and, on the support alone,

    decode           x̂_i = Σ_j a_ij W_j                    active rows of the decoder, weighted and summed
    sample           s_ij = <G_i, W_j>                      gradients of the activations
    gather           Σ_i a_ij G_i for every latent j        gradients of the weights
    column_sums      Σ_i a_ij                               gradients of the biases

Both classes answer them for values in their own layout: [n] in the order of the entries, or [tokens, d_sae]. The
second is a mask, and faster while much of the dictionary is active. Neither is differentiable: gradients are written
out in `saes.training`, because autograd through the sparse products is slower than dense ones.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache, cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import embedding_bag


@dataclass(frozen=True, eq=False)
class SparseSupport:
    """Active entries, by row and, within a row, by column.

    columns [n]: the latent of each entry. offsets [rows + 1]: where each row's entries begin (the CSR layout). d_sae:
    number of latents.
    """

    columns: Int[Tensor, " n"]
    offsets: Int[Tensor, " bounds"]
    d_sae: int

    @property
    def n_rows(self) -> int:
        """Number of tokens."""
        return len(self.offsets) - 1

    @cached_property
    def rows(self) -> Int[Tensor, " n"]:
        """The row of each entry."""
        counts = self.offsets.diff()
        numbers = torch.arange(self.n_rows, device=self.columns.device)
        return torch.repeat_interleave(numbers, counts, output_size=len(self.columns))

    @cached_property
    def _by_column(self) -> tuple[Int[Tensor, " n"], Int[Tensor, " d_sae"]]:
        """The entries by latent and, within one, by row; where each latent's begin."""
        order = torch.sort(self.columns, stable=True).indices
        counts = torch.bincount(self.columns, minlength=self.d_sae)
        return order, counts.cumsum(0) - counts

    def decode(self, values: Float[Tensor, " n"], weight: Float[Tensor, "d_sae d"]) -> Float[Tensor, "rows d"]:
        """Each row's active rows of `weight`, weighted and summed."""
        return embedding_bag(self.columns, weight, self.offsets[:-1], mode="sum", per_sample_weights=values)

    def sample(self, left: Float[Tensor, "rows d"], weight: Float[Tensor, "d_sae d"]) -> Float[Tensor, " n"]:
        """<left_i, weight_j> at the entries (i, j)."""
        zeros = torch.zeros(len(self.columns), dtype=left.dtype, device=left.device)
        size = (self.n_rows, self.d_sae)
        _expect_sparse_tensors()
        pattern = torch.sparse_csr_tensor(self.offsets, self.columns, zeros, size=size, check_invariants=False)
        return torch.sparse.sampled_addmm(pattern, left, weight.T, beta=0.0).values()

    def gather(self, values: Float[Tensor, " n"], left: Float[Tensor, "rows d"]) -> Float[Tensor, "d_sae d"]:
        """Σ_i values_ij left_i for every latent j."""
        order, starts = self._by_column
        return embedding_bag(self.rows[order], left, starts, mode="sum", per_sample_weights=values[order])

    def column_sums(self, values: Float[Tensor, " n"]) -> Float[Tensor, " d_sae"]:
        """Σ_i values_ij for every latent j."""
        return torch.zeros(self.d_sae, dtype=values.dtype, device=values.device).index_add_(0, self.columns, values)

    def pick(self, matrix: Float[Tensor, "rows d_sae"]) -> Float[Tensor, " n"]:
        """The entries of a dense matrix."""
        return matrix[self.rows, self.columns]

    def per_latent(self, vector: Float[Tensor, " d_sae"]) -> Float[Tensor, " n"]:
        """The value of each entry's latent."""
        return vector[self.columns]

    def split(self, prefixes: tuple[int, ...]) -> SparseSupport:
        """The same entries with a row for each token and segment of the dictionary, token-major.

        prefixes: where segments end, ascending; the last is d_sae. Columns ascend within a row, so the entries of one
        token and segment lie together and nothing has to move.
        """
        bounds = torch.tensor(prefixes, device=self.columns.device)
        segment = torch.bucketize(self.columns, bounds, right=True)
        counts = torch.bincount(self.rows * len(prefixes) + segment, minlength=self.n_rows * len(prefixes))
        offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        return SparseSupport(self.columns, offsets, self.d_sae)


@dataclass(frozen=True, eq=False)
class DenseSupport:
    """Active entries as a mask [tokens, d_sae]: for supports so dense that skipping the rest saves nothing."""

    mask: Bool[Tensor, "rows d_sae"]

    @property
    def n_rows(self) -> int:
        """Number of tokens."""
        return len(self.mask)

    def decode(self, values: Float[Tensor, "rows d_sae"], weight: Float[Tensor, "d_sae d"]) -> Float[Tensor, "rows d"]:
        """The product of the values and `weight`."""
        return values @ weight

    def sample(self, left: Float[Tensor, "rows d"], weight: Float[Tensor, "d_sae d"]) -> Float[Tensor, "rows d_sae"]:
        """<left_i, weight_j> at the entries, zero elsewhere."""
        return (left @ weight.T).mul_(self.mask)

    def gather(self, values: Float[Tensor, "rows d_sae"], left: Float[Tensor, "rows d"]) -> Float[Tensor, "d_sae d"]:
        """Σ_i values_ij left_i for every latent j."""
        return values.T @ left

    def column_sums(self, values: Float[Tensor, "rows d_sae"]) -> Float[Tensor, " d_sae"]:
        """Σ_i values_ij for every latent j."""
        return values.sum(0)

    def pick(self, matrix: Float[Tensor, "rows d_sae"]) -> Float[Tensor, "rows d_sae"]:
        """The entries of a dense matrix, zero elsewhere."""
        return matrix * self.mask

    def per_latent(self, vector: Float[Tensor, " d_sae"]) -> Float[Tensor, "rows d_sae"]:
        """The value of each entry's latent, zero elsewhere."""
        return vector * self.mask


Support = SparseSupport | DenseSupport


@cache
def _expect_sparse_tensors() -> None:
    """PyTorch says once that its CSR tensors are in beta: the only operation on them here is checked by the tests."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        torch.eye(1).to_sparse_csr()


def from_mask(mask: Bool[Tensor, "rows d_sae"], max_density: float) -> Support:
    """The support a mask describes: sparse up to a share of active entries, dense beyond it.

    Counting the entries waits for the device, once a step: the size of what follows depends on it.
    """
    rows, columns = mask.nonzero(as_tuple=True)
    if len(rows) > max_density * mask.numel():
        return DenseSupport(mask)
    return from_entries(rows, columns, *mask.shape)


def from_entries(rows: Int[Tensor, " n"], columns: Int[Tensor, " n"], n_rows: int, d_sae: int) -> SparseSupport:
    """The support with these entries, which come by row and, within a row, by column."""
    counts = torch.bincount(rows, minlength=n_rows)
    return SparseSupport(columns, torch.cat([counts.new_zeros(1), counts.cumsum(0)]), d_sae)


def from_columns(columns: Int[Tensor, "rows k"], d_sae: int) -> SparseSupport:
    """The support with the same number of active latents in every row, given in any order."""
    rows, k = columns.shape
    ordered = columns.sort(dim=1).values
    offsets = torch.arange(0, rows * k + 1, k, device=columns.device)
    return SparseSupport(ordered.reshape(-1), offsets, d_sae)
