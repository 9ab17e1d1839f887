"""What the reader of a weight matrix really receives over text: one row a token, or a pair of tokens."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.errors import InputError
from interp.heads.matrices.mlps import mlp_stream, norm_before_mlp
from interp.heads.matrices.parts import WeightMatrix
from interp.heads.weights import divided, folded_heads
from interp.hooks import sites
from interp.hooks.capturing import capture
from interp.hooks.prompts import PromptTokens, real_tokens
from interp.hooks.references import OUTLIER_RATIO
from interp.hooks.sites import Site

FEWEST_TOKENS = 8
BATCH_TOKENS = 4096
"""Tokens a forward pass."""


@dataclass(frozen=True, eq=False)
class Received:
    """Rows of what a matrix was given, and of which token each is, on the CPU in float32.

    inputs [row, d_in]; others [row, d_in]: for QK the keys that go with the queries; outputs [row, d_model]: for OV
    what the head wrote at the same token, after attention. example, position [row]. n_left_out: outliers among tokens.
    """

    inputs: Float[Tensor, "row d_in"]
    others: Float[Tensor, "row d_in"] | None
    outputs: Float[Tensor, "row d_model"] | None
    example: Int[Tensor, " row"]
    position: Int[Tensor, " row"]
    n_left_out: int


def received(model: Any, matrix: WeightMatrix, prompts: PromptTokens, offset: int | None, seed: int) -> Received:
    """What the matrix is given on some prompts, first positions and norm outliers left out.

    For QK: queries with the keys `offset` tokens before them; with a random earlier token (or themselves) where
    positions are not rotary (offset None). Raises InputError where too few tokens are left.
    """
    rows = max(1, BATCH_TOKENS // prompts.shape[1])
    reading, made = _sites(model, matrix)
    acts = capture(model, prompts, [reading, *made], batch_size=rows)
    stream = acts[reading].float().cpu()
    keep, n_left_out = _kept(stream, prompts)
    inputs = stream if matrix.matrix == "W_out" else divided(_norm(model, matrix), stream.to(model.W_E.device)).cpu()
    outputs = _written(model, matrix, acts[made[0]].float()) if made else None
    example, position = (index.contiguous() for index in keep.nonzero().T)
    found = Received(inputs[keep], None, outputs if outputs is None else outputs[keep], example, position, n_left_out)
    if matrix.matrix == "QK":
        found = _paired(inputs, keep, found, offset, seed)
    if len(found.inputs) < FEWEST_TOKENS:
        back = f" with a key {offset} tokens back" if offset else ""
        raise InputError(f"these prompts have {len(found.inputs)} tokens{back}; give more or longer ones")
    return found


def _sites(model: Any, matrix: WeightMatrix) -> tuple[Site, list[Site]]:
    """Which sites are read: what the matrix is given, and what is made of it."""
    part = matrix.part
    if isinstance(part, tuple):
        return sites.resid_pre(part[0]), [sites.z(part[0])] if matrix.matrix == "OV" else []
    return sites.mlp_post(part) if matrix.matrix == "W_out" else mlp_stream(model, part), []


def _norm(model: Any, matrix: WeightMatrix) -> Any:
    part = matrix.part
    return model.blocks[part[0]].ln1 if isinstance(part, tuple) else norm_before_mlp(model, part)


def _written(model: Any, matrix: WeightMatrix, z: Float[Tensor, "batch pos head d_head"]) -> Tensor:
    """What the head wrote at every token, but for biases (and the scale of a norm behind the attention)."""
    layer, head = matrix.part  # type: ignore[misc]
    return (z[:, :, head] @ folded_heads(model, layer).W_O[head]).cpu()


def _kept(stream: Float[Tensor, "batch pos d"], prompts: PromptTokens) -> tuple[Bool[Tensor, "batch pos"], int]:
    """Real tokens without first positions, and without those over ten times as long as the median."""
    real = real_tokens(prompts).cpu().clone()
    real[:, 0] = False
    lengths = stream.norm(dim=-1)
    usual = lengths <= OUTLIER_RATIO * lengths[real].median() if bool(real.any()) else real
    return real & usual, int((real & ~usual).sum())


def _paired(
    inputs: Float[Tensor, "batch pos d"],
    keep: Bool[Tensor, "batch pos"],
    found: Received,
    offset: int | None,
    seed: int,
) -> Received:
    """The same rows as queries, those without a key left out."""
    if offset is None:
        drawn = torch.rand(len(found.position), generator=torch.Generator().manual_seed(seed))
        key = (drawn * (found.position + 1)).long()
    else:
        key = found.position - offset
    usable = (key >= 0) & keep[found.example, key.clamp(min=0)]
    example, position = found.example[usable], found.position[usable]
    others = inputs[example, key[usable]]
    return replace(found, inputs=found.inputs[usable], others=others, example=example, position=position)
