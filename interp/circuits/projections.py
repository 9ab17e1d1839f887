"""What single heads make of a stream of their own, and what they write: a layer's own matrices, ready for one product.

In a circuit every head's queries, keys and values read another residual stream. TransformerLens's split inputs would
run the whole attention layer on d_model-sized copies of each; here one head's matrix is applied to one head's stream,
with the norm before it in closed form: W_q[h] · norm(x) = (x · folded W_q[h]) / scale(x) + bias. No model needs to be
changed for it, and models that refuse split inputs (native ones, grouped keys) are no exception.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.circuits.blocks import Block, blocks_of
from interp.circuits.norms import Norm, wide
from interp.errors import InputError
from interp.hooks.reach import reached
from interp.hooks.sites import hook_points


@dataclass(frozen=True, eq=False)
class Projections:
    """One layer's reading and writing matrices, in the model's dtype.

    read, bias: [reader, d_model, d_head] and [reader, d_head] of all q, then all k, then all v, with the gain and the
    centring of the norm before them folded in. write: [head, d_head, d_model], those of a norm behind attention folded
    in. constant: what attention adds to the stream and no head owns. before, after: the two norms.
    """

    read: Float[Tensor, "reader d_model d_head"]
    bias: Float[Tensor, "reader d_head"]
    write: Float[Tensor, "head d_head d_model"]
    constant: Float[Tensor, " d_model"] | None
    before: Norm
    after: Norm

    def project(
        self, x: Float[Tensor, "n token d_model"], readers: Int[Tensor, " n"]
    ) -> Float[Tensor, "n token d_head"]:
        """The queries, keys or values that each reader makes of its own stream."""
        made = torch.bmm(x, self.read[readers])
        if self.before.divides:
            made = made * self._inverse_scale(x)
        return made + self.bias[readers][:, None]

    def written_scale(self, out: Float[Tensor, "*n d_model"]) -> Float[Tensor, "*n 1"]:
        """What the norm behind attention multiplies with, given attention's output before it."""
        return self.after.normalised(out)[1].to(out.dtype)

    def _inverse_scale(self, x: Float[Tensor, "n token d_model"]) -> Float[Tensor, "n token 1"]:
        # The matrices have gain and centring in them, so the scale is all that is left of the norm.
        x, dtype = wide(x), x.dtype
        if self.before.centres:
            square = x.var(-1, correction=0, keepdim=True)
        else:
            square = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square() / x.shape[-1]
        return (square + self.before.eps).rsqrt().to(dtype)


@torch.no_grad()
def projections(model: Any) -> tuple[Projections, ...]:
    """The projections of every layer, made once a model.

    Raises InputError for a model whose heads do not read and write by these matrices (see `blocks`).
    """
    if model not in _KNOWN:
        _KNOWN[model] = tuple(_of_block(model, block) for block in blocks_of(model))
    return _KNOWN[model]


_KNOWN: weakref.WeakKeyDictionary[Any, tuple[Projections, ...]] = weakref.WeakKeyDictionary()
_MLP_INPUT: weakref.WeakKeyDictionary[Any, tuple[str, bool]] = weakref.WeakKeyDictionary()


def mlp_input(model: Any) -> tuple[str, bool]:
    """Where the MLP's stream enters: the hook's name inside a block, and whether the block's first norm comes before.

    A tensor returned at the second norm's input is what the MLP reads, while the stream goes on past it. Models with
    one norm for attention and MLP are written to behind it.
    """
    if model not in _MLP_INPUT:
        points = hook_points(model)
        names = [name for name in ("blocks.0.ln2.hook_in", "blocks.0.mlp.hook_in") if name in points]
        here = [name for name in names if name in reached(model, points, names)]
        if not here:
            raise InputError("this model's MLP input cannot be written, so edges into MLPs cannot be cut")
        own_norm = here[0].endswith("ln2.hook_in")
        # Behind it there may also be no norm at all (OLMo 2): then this is the stream itself.
        _MLP_INPUT[model] = (here[0].removeprefix("blocks.0."), not own_norm and Block(model, 0).before_mlp.divides)
    return _MLP_INPUT[model]


def _of_block(model: Any, block: Block) -> Projections:
    attention = model.blocks[block.layer].attn
    before, after = block.before_attention, block.after_attention
    constant = getattr(attention, "b_O", None)
    if after.divides and (after.bias is not None or isinstance(constant, Tensor)):
        raise InputError("this model shifts what attention writes before it normalises it, which no head owns; refused")
    read = torch.cat([before.fold_in(block.matrix(letter)) for letter in "qkv"])
    if before.centres:
        read = read - read.mean(-2, keepdim=True)
    dtype = attention.W_O.dtype
    return Projections(
        read=read.to(dtype),
        bias=torch.cat([block.bias(letter) for letter in "qkv"]).to(dtype),
        write=block.out_matrix.to(dtype).contiguous(),
        constant=constant.detach() if isinstance(constant, Tensor) else None,
        before=before,
        after=after,
    )
