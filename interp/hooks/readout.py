"""Which logits an answer needs: some positions, and some columns of the vocabulary.

The unembedding is a fifth of a small model's forward pass; a logit difference reads two of its 49,152 columns at one
position. A `Readout` says so, and `partial.run` computes nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Readout:
    """The logits wanted of each prompt.

    positions: Int[batch, read_pos], indices into the prompt. columns: Int[batch, read_col] token ids, -1 for padding
    (its value is 0), or None for the whole vocabulary. Values are [batch, read], read = (read_pos, read_col) flattened
    with the position first.
    """

    positions: Int[Tensor, "batch read_pos"]
    columns: Int[Tensor, "batch read_col"] | None

    def gather(self, logits: Float[Tensor, "*runs batch pos vocab"]) -> Float[Tensor, "*runs batch read"]:
        """Pick the wanted values out of full logits."""
        positions = self.positions.to(logits.device)
        at = positions[..., None].expand(*logits.shape[:-3], *positions.shape, logits.shape[-1])
        picked = logits.gather(-2, at)
        if self.columns is None:
            return picked.flatten(-2)
        columns = self.columns.to(logits.device)
        index = columns.clamp(min=0)[:, None, :].expand(*picked.shape[:-1], columns.shape[-1])
        values = picked.gather(-1, index).masked_fill(columns[:, None, :] < 0, 0.0)
        return values.flatten(-2)

    def repeat(self, n_runs: int) -> Readout:
        """The same readout for `n_runs` copies of the batch laid end to end (run-major)."""
        columns = None if self.columns is None else self.columns.repeat(n_runs, 1)
        return Readout(self.positions.repeat(n_runs, 1), columns)

    def rows(self, index: Tensor | slice) -> Readout:
        """The readout of some of the prompts."""
        return Readout(self.positions[index], None if self.columns is None else self.columns[index])

    def to(self, device: torch.device | str) -> Readout:
        """The same readout on another device."""
        return Readout(self.positions.to(device), None if self.columns is None else self.columns.to(device))
