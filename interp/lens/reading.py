"""Residual vectors read as predictions, a few at a time: TransformerLens's readout kernel, reduced while it is warm.

`transformer_lens.tools.analysis.logit_readout` applies the model's own final norm, unembedding and output transform,
and refuses models whose logits come about otherwise. One product with the vocabulary serves everything asked of a
vector; no [layer, position, vocabulary] tensor ever exists.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.tools.analysis import logit_readout

from interp.errors import InputError

CHUNK_BYTES = 2**25
"""Log-probabilities that exist at a time."""


@dataclass(frozen=True, eq=False)
class Readings:
    """What was read of some vectors, on the CPU.

    log_probs, ranks [vector, column]: of the wanted tokens, rank 0 the most probable; NaN and -1 for a padding column.
    entropy [vector]: of the whole distribution, in nats. top_ids, top_log_probs [vector, k]: the most probable tokens.
    """

    log_probs: Float[Tensor, "vector column"]
    ranks: Int[Tensor, "vector column"]
    entropy: Float[Tensor, " vector"]
    top_ids: Int[Tensor, "vector k"]
    top_log_probs: Float[Tensor, "vector k"]


@torch.no_grad()
def read_vectors(
    model: Any, vectors: Float[Tensor, "vector d_model"], columns: Int[Tensor, "vector column"], top_k: int = 1
) -> Readings:
    """Read vectors of the residual stream through the final norm and the unembedding, as if the model ended there."""
    step = max(1, CHUNK_BYTES // (4 * int(model.cfg.d_vocab)))
    parts = [_read(model, *pair, top_k) for pair in zip(vectors.split(step), columns.split(step))]
    return Readings(*(torch.cat([getattr(part, name) for part in parts]) for name in Readings.__dataclass_fields__))


def log_probabilities(model: Any, vectors: Float[Tensor, "vector d_model"]) -> Float[Tensor, "vector vocab"]:
    """The whole distribution of each vector: for a few vectors only."""
    return _readout(model, vectors).values


def _readout(model: Any, vectors: Tensor) -> Any:
    try:
        return logit_readout(model, vectors, return_type="log_probs", chunk_size=len(vectors))
    except (ValueError, NotImplementedError) as error:
        raise InputError(f"this model cannot be read layer by layer: {error}") from error


def _read(model: Any, vectors: Tensor, columns: Tensor, top_k: int) -> Readings:
    readout = _readout(model, vectors)
    values = readout.values  # [vector, vocab]
    real, index = (columns >= 0).to(values.device), columns.clamp(min=0).to(values.device)
    wanted = values.gather(-1, index)
    # One column at a time: all at once would be a [vector, column, vocab] comparison.
    ranks = torch.stack([(values > wanted[:, i : i + 1]).sum(-1) for i in range(wanted.shape[1])], dim=1)
    top = values.topk(min(top_k, values.shape[-1]), dim=-1)
    return Readings(
        wanted.masked_fill(~real, float("nan")).cpu(),
        ranks.masked_fill(~real, -1).cpu(),
        readout.entropy.cpu(),
        top.indices.cpu(),
        top.values.cpu(),
    )
