"""What the AND and the OR toy share: two heads that fetch the inputs of a gate, decoys, and readout of the gate.

The residual stream is `token | left | right | result | junk | position`: one-hot codes of tokens and positions, and
four blocks over the eight symbols.

    a0.0, a0.1  attend to position 0 and position 1, copy the symbol there -> left, right
    m0          the gate: left, right and the constant that every position code adds up to -> result
    a1.0, a1.1  decoys: attend evenly, copy left and result -> junk
    m1          decoy: relu(junk) -> junk
    the logits read `result` alone, times GAIN

The fetching heads score the position they look for `BETA`, others 0, so that e^-20 of attention goes elsewhere. A
prompt is two tokens and "=", 3 positions; under zero ablation of a query or key a head attends evenly.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from interp.models.toy.native import (
    Layout,
    Shape,
    blank,
    write_embeddings,
    write_head,
    write_relu_mlp,
    write_unembedding,
)
from interp.models.toy.truth import edge_names

N_SYMBOLS = 8
N_FILLERS = 4
"""Tokens without a code in any block but `token`: to the gate they are nothing."""
EQUALS = N_SYMBOLS + N_FILLERS
D_VOCAB = EQUALS + 1
N_CTX = 4
GAIN = 10.0
BETA = 20.0
EDGES = edge_names(n_layers=2, n_heads=2, attn_only=False)
LAYOUT = Layout(token=D_VOCAB, left=N_SYMBOLS, right=N_SYMBOLS, result=N_SYMBOLS, junk=N_SYMBOLS, position=N_CTX)
ONE = LAYOUT["position"].sum(1, keepdim=True)
"""Reads 1 at every position."""

_SHAPE = Shape(
    n_layers=2,
    n_heads=2,
    d_model=LAYOUT.d_model,
    d_head=N_SYMBOLS,
    n_ctx=N_CTX,
    d_vocab=D_VOCAB,
    d_mlp=2 * N_SYMBOLS,
)


def build_gate(
    name: str, read: Float[Tensor, "d_model hidden"], write: Float[Tensor, "hidden d_model"]
) -> TransformerBridge:
    """The model whose m0 computes relu(x·read)·write."""
    model = blank(name, _SHAPE)
    position, junk = LAYOUT["position"], LAYOUT["junk"]
    write_embeddings(model, LAYOUT["token"].T, position.T)
    symbol = LAYOUT["token"][:, :N_SYMBOLS]
    for head, side in enumerate(("left", "right")):
        here = position[:, head : head + 1]
        write_head(model, 0, head, query=BETA * ONE, key=here, value=symbol, output=LAYOUT[side].T)
    write_relu_mlp(model, 0, read, write)
    write_head(model, 1, 0, value=LAYOUT["left"], output=junk.T)
    write_head(model, 1, 1, value=LAYOUT["result"], output=junk.T)
    write_relu_mlp(model, 1, junk, junk.T)
    readout = torch.zeros(LAYOUT.d_model, D_VOCAB)
    readout[:, :N_SYMBOLS] = GAIN * LAYOUT["result"]
    write_unembedding(model, readout)
    return model


def prompts(left: Int[Tensor, " n"], right: Int[Tensor, " n"]) -> Int[Tensor, "n pos"]:
    """`left right =` for every pair of tokens."""
    return torch.stack([left, right, torch.full_like(left, EQUALS)], dim=1)


def different(n: int, size: int, count: int, generator: torch.Generator) -> list[Int[Tensor, " n"]]:
    """`count` columns of numbers below `size`, all different within a row."""
    drawn = torch.stack([torch.randperm(size, generator=generator)[:count] for _ in range(n)])
    return list(drawn.unbind(1))
