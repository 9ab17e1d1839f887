"""Building small models by hand: a bridge with every weight zero, and one place that writes a head's matrices."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformer_lens.config import TransformerBridgeConfig
from transformer_lens.model_bridge import TransformerBridge


class Layout:
    """The residual stream as consecutive blocks: Layout(token=5, output=3)["output"] reads the last three of eight."""

    def __init__(self, **sizes: int) -> None:
        self.d_model = sum(sizes.values())
        blocks = torch.eye(self.d_model).split(list(sizes.values()), dim=1)
        self._blocks = dict(zip(sizes, blocks))

    def __getitem__(self, name: str) -> Float[Tensor, "d_model size"]:
        """The matrix that reads a block; its transpose writes it."""
        return self._blocks[name]


@dataclass(frozen=True)
class Shape:
    """The size of a hand-built decoder. Attention is causal and eager; there is no normalisation."""

    n_layers: int
    n_heads: int
    d_model: int
    d_head: int
    n_ctx: int
    d_vocab: int
    d_mlp: int | None = None
    """Width of the MLPs; None builds an attention-only model."""


def blank(name: str, shape: Shape) -> TransformerBridge:
    """A bridge without a tokenizer in which every weight and bias is zero, in eval mode, on the CPU, float32."""
    config = TransformerBridgeConfig(
        n_layers=shape.n_layers,
        n_heads=shape.n_heads,
        d_model=shape.d_model,
        d_head=shape.d_head,
        n_ctx=shape.n_ctx,
        d_vocab=shape.d_vocab,
        d_mlp=shape.d_mlp,
        attn_only=shape.d_mlp is None,
        act_fn="relu",
        normalization_type=None,
        init_weights=False,
        device="cpu",
    )
    model = TransformerBridge.boot_native(config, model_name=name)
    for parameter in model.parameters():
        parameter.requires_grad_(False).zero_()
    return model.eval()


def write_embeddings(
    model: TransformerBridge, tokens: Float[Tensor, "d_vocab d_model"], positions: Float[Tensor, "n_ctx d_model"]
) -> None:
    """Set what a token and a position write into the residual stream."""
    model.embed.original_component.weight.copy_(tokens)
    model.pos_embed.original_component.weight.copy_(positions)


def write_unembedding(model: TransformerBridge, readout: Float[Tensor, "d_model d_vocab"]) -> None:
    """Set the map from the last residual to logits."""
    model.unembed.original_component.weight.copy_(readout.T)


def write_head(
    model: TransformerBridge,
    layer: int,
    head: int,
    *,
    query: Float[Tensor, "d_model n_score"] | None = None,
    key: Float[Tensor, "d_model n_score"] | None = None,
    value: Float[Tensor, "d_model n_value"] | None = None,
    output: Float[Tensor, "n_value d_model"] | None = None,
) -> None:
    """Set a head's matrices; those not given stay zero. Scores are (x query)·(y key), the usual √d_head is undone.

    The matrices may be narrower than the head; the rest of the head stays zero.
    """
    attention = model.blocks[layer].attn
    d_head = model.cfg.d_head
    if query is not None:
        _rows(attention.q, head, d_head, query).copy_(query.T * math.sqrt(d_head))
    if key is not None:
        _rows(attention.k, head, d_head, key).copy_(key.T)
    if value is not None:
        _rows(attention.v, head, d_head, value).copy_(value.T)
    if output is not None:
        attention.o.original_component.weight[:, head * d_head : head * d_head + len(output)] = output.T


def write_relu_mlp(
    model: TransformerBridge, layer: int, read: Float[Tensor, "d_model hidden"], write: Float[Tensor, "hidden d_model"]
) -> None:
    """Make an MLP x → relu(x·read)·write, without biases; `hidden` may be smaller than the MLP is wide."""
    mlp = model.blocks[layer].mlp
    getattr(mlp, "in").original_component.weight[: read.shape[1]] = read.T
    mlp.out.original_component.weight[:, : len(write)] = write.T


def write_linear_mlp(model: TransformerBridge, layer: int, matrix: Float[Tensor, "d_model d_model"]) -> None:
    """Make an MLP of width 2·d_model the linear map x → x·matrix, exactly: relu(x) - relu(-x) = x."""
    both_signs = torch.cat([torch.eye(matrix.shape[0]), -torch.eye(matrix.shape[0])])
    write_relu_mlp(model, layer, both_signs.T, both_signs @ matrix)


def _rows(projection: Any, head: int, d_head: int, matrix: Float[Tensor, "d_model columns"]) -> Tensor:
    """The rows of a head in a query, key or value projection that `matrix` fills, as a view."""
    return projection.original_component.weight[head * d_head : head * d_head + matrix.shape[1]]
