"""Four layers with two independent circuits for one answer: induction in layers 0 and 2, a relay in layers 1 and 3.

Construction. Attention-only; the residual stream is `token | previous | carried | output | junk | position`, the first
five one-hot codes of the vocabulary.

    a0.0  previous-token head: query "my position - 1", key "my position"; copies token -> previous
    a2.0  induction head: query `token`, key `previous`; copies token -> output, times INDUCTION
    a1.0  first half of the relay: attends to position 1, copies token -> carried
    a3.0  second half: attends to its own position, copies carried -> output, times RELAY
    a0.1, a1.1, a2.1, a3.1  decoys: attend evenly; copy token, token, previous, output -> junk
    the logits read `output` alone

Prompts are those of `toy/induction`: BOS, twelve tokens, the same again; the answer is the first token, which stands at
position 1, the corrupt prompt renames all tokens. Attention is saturated as there (BETA = 20).

Truth. The two circuits add up and share no edge; the effects of each are those it has alone. m(clean) =
INDUCTION + RELAY. Eight edges are active under counterfactual ablation, in both directions: five of induction (of which
three go through saturated attention, to which a gradient is blind), three of the relay. Irreducible sufficient sets are
the relay's edges with those of `toy/induction`. Zero ablation adds the positions; there a3.0 attends evenly, to 25
positions of which BOS alone carries nothing.
"""

from __future__ import annotations

from types import MappingProxyType

import torch
from transformer_lens.model_bridge import TransformerBridge

from interp.models.toy.induction import BOS, D_VOCAB, N_CTX, pairs
from interp.models.toy.native import Layout, Shape, blank, write_embeddings, write_head, write_unembedding
from interp.models.toy.truth import DENOISE, NOISE, ZERO, Edge, Truth, edge_names

__all__ = ["BOS", "TRUTH", "build", "pairs"]

INDUCTION = 10.0
RELAY = 4.0
BETA = 20.0
_LAYOUT = Layout(token=D_VOCAB, previous=D_VOCAB, carried=D_VOCAB, output=D_VOCAB, junk=D_VOCAB, position=N_CTX)
_SHAPE = Shape(n_layers=4, n_heads=2, d_model=_LAYOUT.d_model, d_head=N_CTX, n_ctx=N_CTX, d_vocab=D_VOCAB)

MATCHING: tuple[Edge, ...] = (("embed", "a0.0.v"), ("a0.0", "a2.0.k"), ("embed", "a2.0.q"))
COPYING: tuple[Edge, ...] = (("embed", "a2.0.v"), ("a2.0", "logits"))
RELAYING: tuple[Edge, ...] = (("embed", "a1.0.v"), ("a1.0", "a3.0.v"), ("a3.0", "logits"))
_FINDS_PREVIOUS: tuple[Edge, ...] = (("embed", "a0.0.q"), ("embed", "a0.0.k"))
_FINDS_FIRST: tuple[Edge, ...] = (("embed", "a1.0.q"), ("embed", "a1.0.k"))
_FINDS_ITSELF: tuple[Edge, ...] = (("embed", "a3.0.q"), ("embed", "a3.0.k"))

_EFFECTS = {
    **dict.fromkeys(MATCHING, INDUCTION),
    **dict.fromkeys(COPYING, 2 * INDUCTION),
    **dict.fromkeys(RELAYING, 2 * RELAY),
}
_ZERO = {
    **dict.fromkeys(MATCHING + COPYING, INDUCTION),
    **dict.fromkeys(RELAYING + _FINDS_FIRST, RELAY),
    **dict.fromkeys(_FINDS_ITSELF, RELAY / 25),
}

TRUTH = Truth(
    edges=edge_names(n_layers=4, n_heads=2, attn_only=True),
    active=MappingProxyType(
        {
            NOISE: frozenset(_EFFECTS),
            DENOISE: frozenset(_EFFECTS),
            ZERO: frozenset(_ZERO) | frozenset(_FINDS_PREVIOUS),
        }
    ),
    effects=MappingProxyType({NOISE: _EFFECTS, DENOISE: _EFFECTS, ZERO: _ZERO}),
    sufficient=(frozenset(COPYING + RELAYING), frozenset(MATCHING + COPYING + RELAYING)),
    sufficient_zero=(frozenset(MATCHING + COPYING + RELAYING + _FINDS_PREVIOUS + _FINDS_FIRST + _FINDS_ITSELF),),
    total=2 * (INDUCTION + RELAY),
    flat=MappingProxyType({NOISE: frozenset(MATCHING), DENOISE: frozenset(MATCHING)}),
)


def build() -> TransformerBridge:
    """The model, without a tokenizer."""
    model = blank("toy/two_circuits", _SHAPE)
    token, previous, carried, output, junk = (
        _LAYOUT[name] for name in ("token", "previous", "carried", "output", "junk")
    )
    position, one = _LAYOUT["position"], _LAYOUT["position"].sum(1, keepdim=True)
    before_me = torch.eye(N_CTX).roll(1, dims=0)
    before_me[0] = 0.0
    write_embeddings(model, token.T, position.T)
    write_head(model, 0, 0, query=BETA * position @ before_me, key=position, value=token, output=previous.T)
    write_head(model, 1, 0, query=BETA * one, key=position[:, 1:2], value=token, output=carried.T)
    write_head(model, 2, 0, query=BETA * token, key=previous, value=token, output=INDUCTION * output.T)
    write_head(model, 3, 0, query=BETA * position, key=position, value=carried, output=RELAY * output.T)
    for layer, read in enumerate((token, token, previous, output)):
        write_head(model, layer, 1, value=read, output=junk.T)
    write_unembedding(model, output)
    return model
