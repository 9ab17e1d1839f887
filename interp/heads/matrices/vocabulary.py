"""Directions of the residual stream read as words: which tokens lie along them, and do those have anything in common?

What a part reads is compared with the token embeddings, each over the scale that the norm would divide it by; what it
writes goes through the final norm's gain and the unembedding (Millidge & Black 2022, "The Singular Value Decompositions
of Transformer Weight Matrices are Highly Interpretable"). Special tokens are left out.

Every direction has tokens at its ends, and people find meaning in lists of words. Two numbers help to tell: how far
the first tokens stand out of the vocabulary (`concentration`), and how alike they are in everything but the direction
itself, on which they were chosen (`coherence`). Both are to be held against directions of random matrices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.errors import InputError
from interp.heads.matrices.parts import WRITES
from interp.heads.matrices.token_bytes import with_bytes
from interp.heads.weights import divided, folded_unembedding
from interp.models.tokens import to_strings
from interp.tasks.wording import ordinary_tokens

POLES = ("+", "−")
CHUNK = 32
"""Directions that are held against the vocabulary at a time."""


@dataclass(frozen=True, eq=False)
class DirectionsRead:
    """What the vocabulary says of some directions; poles are the two ends of each.

    standing [direction, pole, rank]: how far the rank-th token stands out, in standard deviations over the vocabulary.
    ids [direction, pole, rank]: which token it is. concentration [direction, pole]: mean standing of those tokens.
    coherence [direction, pole]: mean cosine between two of them, their mean over the vocabulary and the direction
    taken out.
    """

    standing: Float[Tensor, "direction pole rank"]
    ids: Int[Tensor, "direction pole rank"]
    concentration: Float[Tensor, "direction pole"]
    coherence: Float[Tensor, "direction pole"]

    def rows(self, which: slice) -> DirectionsRead:
        """Some of the directions."""
        return DirectionsRead(*(field[which] for field in vars(self).values()))

    def turned(self, which: Bool[Tensor, " direction"]) -> DirectionsRead:
        """As if these directions pointed the other way: their poles are exchanged."""
        pole = (which[:, None] ^ torch.tensor([False, True])).long()  # [direction, pole]
        return DirectionsRead(*(field[torch.arange(len(pole))[:, None], pole] for field in vars(self).values()))


def both_ends(n: int) -> dict[str, tuple[int, int]]:
    """The ends of the first n directions by name, "0 +", "0 −", "1 +", ...: which direction, and which pole."""
    return {f"{i} {pole}": (i, k) for i in range(n) for k, pole in enumerate(POLES)}


class Vocabulary:
    """The tokens of a model as rows of two matrices: how they are read, and how they are written."""

    def __init__(self, model: Any) -> None:
        self._model = model
        device = model.W_E.device
        self.ids = ordinary_tokens(model).to(device)
        embedded = divided(model.blocks[0].ln1, model.W_E.detach().float()[self.ids])
        self.read_rows = embedded - embedded.mean(0)
        written = folded_unembedding(model).mT[self.ids]
        self.written_rows = written - written.mean(0)

    def rows(self, side: str) -> Float[Tensor, "token d_model"]:
        """The tokens as this side of a matrix (`parts.WRITES`, or any that reads) sees them, their mean taken out."""
        return self.written_rows if side == WRITES else self.read_rows

    @torch.no_grad()
    def read(self, side: str, directions: Float[Tensor, "direction d_model"], top: int) -> DirectionsRead:
        """The tokens at both ends of every direction."""
        if not 1 <= top <= len(self.ids):
            raise InputError(f"top={top} tokens of a vocabulary of {len(self.ids)}; choose from 1 to {len(self.ids)}")
        parts = [self._read(self.rows(side), some, top) for some in directions.to(self.read_rows).split(CHUNK)]
        fields = DirectionsRead.__dataclass_fields__
        return DirectionsRead(*(torch.cat([getattr(part, name) for part in parts]) for name in fields))

    def _read(
        self, rows: Float[Tensor, "token d_model"], directions: Float[Tensor, "direction d_model"], top: int
    ) -> DirectionsRead:
        along = rows @ directions.mT  # [token, direction]
        along /= along.pow(2).mean(0).sqrt().clamp(min=1e-30)  # the mean is 0 already
        ends = [along.topk(top, dim=0), (-along).topk(top, dim=0)]
        standing = torch.stack([end.values.T for end in ends], dim=1)
        index = torch.stack([end.indices.T for end in ends], dim=1)
        unit = directions / directions.norm(dim=-1, keepdim=True).clamp(min=1e-30)
        coherence = _likeness(rows[index], unit[:, None, None])
        return DirectionsRead(standing.cpu(), self.ids[index].cpu(), standing.mean(-1).cpu(), coherence.cpu())

    def words(self, ids: Int[Tensor, "*at"]) -> list[Any]:
        """The text of every token, nested as the ids are; bytes that are no whole character as \\xe2."""
        flat = with_bytes(self._model.tokenizer, ids.flatten().tolist(), to_strings(self._model, ids.flatten()))
        for size in reversed(ids.shape[1:]):
            flat = [flat[i : i + size] for i in range(0, len(flat), size)]  # type: ignore[misc]
        return flat


def _likeness(
    chosen: Float[Tensor, "direction pole rank d_model"], unit: Float[Tensor, "direction 1 1 d_model"]
) -> Float[Tensor, "direction pole"]:
    """Mean cosine over pairs of different tokens, without the direction; 0 for a single token."""
    rest = chosen - (chosen * unit).sum(-1, keepdim=True) * unit
    rest = rest / rest.norm(dim=-1, keepdim=True).clamp(min=1e-30)
    n = rest.shape[2]
    total = rest.sum(2).pow(2).sum(-1) - rest.pow(2).sum((2, 3))
    return total / max(n * (n - 1), 1)
