"""Rotary position embeddings as a matrix: what a query-key product becomes when the key lies some tokens back.

A rotary model turns queries and keys by angles that grow with the position, so that a score is
x W_Q R(offset) W_K^T y^T with a rotation R that depends on the distance alone (Su et al. 2021, "RoFormer"). Offset 0 is
no rotation.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import InputError
from interp.heads.weights import normalises_queries


def rotated(
    model: Any, layer: int, W_Q: Float[Tensor, "head d_model d_head"], offset: int
) -> Float[Tensor, "head d_model d_head"]:
    """W_Q R(offset): queries as a key `offset` tokens before them sees them."""
    return W_Q if offset == 0 else W_Q @ rotation(model, layer, offset).to(W_Q)


def key_place(offset: int) -> str:
    """Which of the matrices of a rotary model it is, after "QK": "for a key 1 token before the query"."""
    if offset == 0:
        return "without rotation (offset 0)"
    return f"for a key {offset} token{'s' * (offset != 1)} before the query"


def offset_words(offset: int | None, what: str = "QK") -> str:
    """A sentence that begins with a space, for captions of what depends on the offset; none where it is None.

    Every table and figure of a rotary model needs it: without rotation is a choice as well, and of no two tokens.
    """
    return "" if offset is None else f" {what} {key_place(offset)}; another offset is another matrix."


def titled_by_offset(title: str, offset: int | None, what: str = "QK") -> str:
    """A title with that sentence behind it, where there is one."""
    words = offset_words(offset, what)
    return f"{title}.{words}" if words else title


def checked_offset(model: Any, offset: int) -> int | None:
    """The offset that scores of this model state: the one given where positions are rotary, None elsewhere.

    Raises InputError where scores are no bilinear form of the stream, and for an offset that means nothing.
    """
    if normalises_queries(model):
        raise InputError("this model normalises queries and keys, so no matrix stands for its attention scores")
    kind = str(getattr(model.cfg, "positional_embedding_type", ""))
    if kind == "rotary":
        if offset < 0:
            raise InputError(f"offset says how many tokens before the query the key lies; {offset} is after it")
        n_ctx = getattr(model.cfg, "n_ctx", None)
        if n_ctx is not None and offset >= n_ctx:
            raise InputError(f"no key lies {offset} tokens back in a context of {n_ctx}; use an offset below {n_ctx}")
        return offset
    if offset != 0:
        raise InputError(f"an offset means something for rotary positions only; leave it out for {kind!r} ones")
    return None


@torch.no_grad()
def rotation(model: Any, layer: int, offset: int) -> Float[Tensor, "d_head d_head"]:
    """R such that the score of a query at i with a key at i - offset is (q R) · k. Identity beyond the rotated part.

    Raises InputError for a rotary embedding that does not say its angles.
    """
    eye = torch.eye(int(model.cfg.d_head))
    native = getattr(getattr(model.blocks[layer].attn, "original_component", None), "rotary", None)
    if native is not None:
        positions = torch.full((1, len(eye)), offset)
        return native.apply_rope(eye[None, None], eye[None, None], position_ids=positions)[0][0, 0]
    cos, sin = _angles(model, layer, offset)
    width = len(cos)
    first, second = eye[:, :width].chunk(2, -1)
    if not torch.allclose(cos[: width // 2], cos[width // 2 :]):  # neighbours turn together, not the two halves
        turned = torch.stack((-eye[:, 1:width:2], eye[:, 0:width:2]), dim=-1).flatten(-2)
    else:
        turned = torch.cat([-second, first], dim=-1)
    return torch.cat([eye[:, :width] * cos + turned * sin, eye[:, width:]], dim=-1)


def _angles(model: Any, layer: int, offset: int) -> tuple[Float[Tensor, " width"], Float[Tensor, " width"]]:
    """Cosine and sine of the angle of every rotated dimension at a distance, from the model's own embedding."""
    rotary = getattr(getattr(model, "rotary_emb", None), "original_component", None)
    if rotary is None:
        raise InputError("this model keeps its rotary angles out of reach; use offset=0, without rotation")
    kinds = getattr(rotary, "layer_types", None) or ()
    extra = (model.original_model.config.get_text_config().layer_types[layer],) if len(set(kinds)) > 1 else ()
    positions = torch.tensor([[offset]], device=model.W_E.device)
    cos, sin = rotary(model.W_E[None, :1].float(), positions, *extra)
    # Some families scale the rotated queries as well; a factor changes no score made of ratios.
    factor = (cos[0, 0] ** 2 + sin[0, 0] ** 2).sqrt()
    return (cos[0, 0] / factor).float().cpu(), (sin[0, 0] / factor).float().cpu()
