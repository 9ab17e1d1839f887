"""A negative head: it finds what an earlier head is about to predict and writes against it (copy suppression).

Construction. Two attention-only layers; the residual stream is `token | output | junk | position`.

    a0.0  mover: attends to position 1, copies its symbol -> output
    a0.1  decoy: attends evenly, copies the symbols -> junk
    a1.0  negative head: query `output`, key `token`: attends to where the predicted symbol stands, or to BOS when it
          stands nowhere; copies the symbol times -1/2 -> output
    a1.1  decoy: attends evenly, copies junk -> junk
    the logits read `output` alone, times GAIN

A predicted symbol scores BETA at its token, BOS BETA/2, so that attention is saturated (e^-40 elsewhere) and stays so
(e^-20) with a quarter of a symbol.

Prompts. Clean "BOS x f .", corrupt "BOS y g .": x and y different symbols, f and g different fillers; answer x,
distractor y. m(clean) = GAIN/2, m(corrupt) = -GAIN/2, the same in both directions.

Truth. Six edges are active; those of the negative head have negative effects. What the mover reads counts 3/2·GAIN,
less than the 2·GAIN of what it writes into the logits, because without it the negative head is silent too. Two of the
effects, of the query and the keys, go through saturated attention, to which a gradient is blind. The six edges are an
irreducible sufficient set, and so are the four without query and keys: when both are corrupt they match again. Zero
ablation adds the positions by which a0.0 finds its token (even attention over four positions leaves a quarter).

McDougall et al. 2023, "Copy Suppression"; negative name movers: Wang et al. 2022.
"""

from __future__ import annotations

from types import MappingProxyType

import torch
from jaxtyping import Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from interp.models.toy.gates import different
from interp.models.toy.native import Layout, Shape, blank, write_embeddings, write_head, write_unembedding
from interp.models.toy.truth import DENOISE, NOISE, ZERO, Edge, Truth, edge_names

BOS = 0
N_SYMBOLS = 8
N_FILLERS = 4
D_VOCAB = 1 + N_SYMBOLS + N_FILLERS + 1
N_CTX = 4
GAIN = 10.0
BETA = 80.0
_SYMBOLS = slice(1, 1 + N_SYMBOLS)
_STOP = D_VOCAB - 1
_LAYOUT = Layout(token=D_VOCAB, output=N_SYMBOLS, junk=N_SYMBOLS, position=N_CTX)
_SHAPE = Shape(n_layers=2, n_heads=2, d_model=_LAYOUT.d_model, d_head=N_SYMBOLS + 1, n_ctx=N_CTX, d_vocab=D_VOCAB)

MOVER: tuple[Edge, ...] = (("embed", "a0.0.v"), ("a0.0", "logits"))
SUPPRESSION: tuple[Edge, ...] = (("embed", "a1.0.v"), ("a1.0", "logits"))
MATCHING: tuple[Edge, ...] = (("a0.0", "a1.0.q"), ("embed", "a1.0.k"))
_POSITIONAL: tuple[Edge, ...] = (("embed", "a0.0.q"), ("embed", "a0.0.k"))

_EFFECTS = {
    MOVER[0]: 1.5 * GAIN,
    MOVER[1]: 2 * GAIN,
    **dict.fromkeys(MATCHING, -GAIN / 2),
    **dict.fromkeys(SUPPRESSION, -GAIN),
}
_ZERO = {
    MOVER[0]: GAIN / 2,
    MOVER[1]: GAIN,
    **dict.fromkeys(_POSITIONAL, GAIN / 4),
    MATCHING[0]: -GAIN / 2,
    MATCHING[1]: -3 / 8 * GAIN,
    **dict.fromkeys(SUPPRESSION, -GAIN / 2),
}

TRUTH = Truth(
    edges=edge_names(n_layers=2, n_heads=2, attn_only=True),
    active=MappingProxyType({NOISE: frozenset(_EFFECTS), DENOISE: frozenset(_EFFECTS), ZERO: frozenset(_ZERO)}),
    effects=MappingProxyType({NOISE: _EFFECTS, DENOISE: _EFFECTS, ZERO: _ZERO}),
    sufficient=(frozenset(MOVER + SUPPRESSION), frozenset(MOVER + SUPPRESSION + MATCHING)),
    sufficient_zero=(frozenset(MOVER + SUPPRESSION + MATCHING + _POSITIONAL),),
    total=GAIN,
    flat=MappingProxyType({NOISE: frozenset(MATCHING), DENOISE: frozenset(MATCHING)}),
)


def build() -> TransformerBridge:
    """The model, without a tokenizer."""
    model = blank("toy/negative", _SHAPE)
    output, junk, position = _LAYOUT["output"], _LAYOUT["junk"], _LAYOUT["position"]
    symbol, one = _LAYOUT["token"][:, _SYMBOLS], position.sum(1, keepdim=True)
    write_embeddings(model, _LAYOUT["token"].T, position.T)
    write_head(model, 0, 0, query=BETA * one, key=position[:, 1:2], value=symbol, output=output.T)
    write_head(model, 0, 1, value=symbol, output=junk.T)
    looks_for = torch.cat([BETA * output, BETA / 2 * one], dim=1)
    stands = torch.cat([symbol, position[:, :1]], dim=1)
    write_head(model, 1, 0, query=looks_for, key=stands, value=symbol, output=-output.T / 2)
    write_head(model, 1, 1, value=junk, output=junk.T)
    readout = torch.zeros(_LAYOUT.d_model, D_VOCAB)
    readout[:, _SYMBOLS] = GAIN * output
    write_unembedding(model, readout)
    return model


def pairs(
    n: int, seed: int
) -> tuple[Int[Tensor, "n pos"], Int[Tensor, "n pos"], Int[Tensor, "n 1"], Int[Tensor, "n 1"]]:
    """`n` seeded prompts as clean tokens, corrupt tokens, answers, distractors; every prompt has 4 positions."""
    generator = torch.Generator().manual_seed(seed)
    x, y = (1 + symbol for symbol in different(n, N_SYMBOLS, 2, generator))
    f, g = (1 + N_SYMBOLS + filler for filler in different(n, N_FILLERS, 2, generator))
    bos, stop = torch.full_like(x, BOS), torch.full_like(x, _STOP)
    clean, corrupt = (torch.stack([bos, *two, stop], dim=1) for two in ((x, f), (y, g)))
    return clean, corrupt, x[:, None], y[:, None]
