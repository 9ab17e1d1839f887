"""A cancelling pair: two heads that write the same with opposite signs, beside the one head that gives the answer.

Construction. Two attention-only layers; the residual stream is `token | moved | output | junk | position`.

    a0.0  mover: attends to position 0 from everywhere, copies its symbol -> moved
    a0.1  main head: attends to position 0, copies its symbol -> output
    a0.2  decoy: attends evenly, copies the symbols -> junk
    a1.0  attends evenly, copies  3/2·moved -> output
    a1.1  attends evenly, copies -3/2·moved -> output
    a1.2  decoy: attends evenly, copies junk -> junk
    the logits read `output` alone, times GAIN

Attention depends on positions alone and `moved` is the same everywhere, so the model is linear in the symbols.

Prompts. Clean "x f g", corrupt "y h k": x and y different symbols, the others different fillers; answer x, distractor
y. m(clean) = GAIN, m(corrupt) = -GAIN.

Truth, the same in both directions. The main head's two edges have the effect 2·GAIN. The four edges of the pair have
effects of 3·GAIN and -3·GAIN, larger than any other, and yet leaving out all four together changes nothing: the main
head's two edges are the only irreducible sufficient set. What the mover reads, embed -> a0.0.v, has no effect, though
all that the pair writes comes from there. Edge attribution, at any point, is exact. So edges ranked by the size of
exact effects put the four before the circuit: sizes of single effects do not make a circuit.
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

N_SYMBOLS = 8
N_FILLERS = 4
D_VOCAB = N_SYMBOLS + N_FILLERS
N_CTX = 4
GAIN = 10.0
BETA = 20.0
_LAYOUT = Layout(token=D_VOCAB, moved=N_SYMBOLS, output=N_SYMBOLS, junk=N_SYMBOLS, position=N_CTX)
_SHAPE = Shape(n_layers=2, n_heads=3, d_model=_LAYOUT.d_model, d_head=N_SYMBOLS, n_ctx=N_CTX, d_vocab=D_VOCAB)

MAIN: tuple[Edge, ...] = (("embed", "a0.1.v"), ("a0.1", "logits"))
FOR: tuple[Edge, ...] = (("a0.0", "a1.0.v"), ("a1.0", "logits"))
AGAINST: tuple[Edge, ...] = (("a0.0", "a1.1.v"), ("a1.1", "logits"))
_FINDS_MAIN: tuple[Edge, ...] = (("embed", "a0.1.q"), ("embed", "a0.1.k"))

_EFFECTS = dict.fromkeys(MAIN, 2 * GAIN) | dict.fromkeys(FOR, 3 * GAIN) | dict.fromkeys(AGAINST, -3 * GAIN)
_ZERO = {edge: effect / 2 for edge, effect in _EFFECTS.items()} | dict.fromkeys(_FINDS_MAIN, 2 / 3 * GAIN)

TRUTH = Truth(
    edges=edge_names(n_layers=2, n_heads=3, attn_only=True),
    active=MappingProxyType({NOISE: frozenset(_EFFECTS), DENOISE: frozenset(_EFFECTS), ZERO: frozenset(_ZERO)}),
    effects=MappingProxyType({NOISE: _EFFECTS, DENOISE: _EFFECTS, ZERO: _ZERO}),
    sufficient=(frozenset(MAIN),),
    sufficient_zero=(frozenset(MAIN + _FINDS_MAIN),),
    total=2 * GAIN,
)


def build() -> TransformerBridge:
    """The model, without a tokenizer."""
    model = blank("toy/cancelling", _SHAPE)
    moved, output, junk, position = (_LAYOUT[name] for name in ("moved", "output", "junk", "position"))
    symbol, one, first = _LAYOUT["token"][:, :N_SYMBOLS], position.sum(1, keepdim=True), position[:, :1]
    write_embeddings(model, _LAYOUT["token"].T, position.T)
    write_head(model, 0, 0, query=BETA * one, key=first, value=symbol, output=moved.T)
    write_head(model, 0, 1, query=BETA * one, key=first, value=symbol, output=output.T)
    write_head(model, 0, 2, value=symbol, output=junk.T)
    write_head(model, 1, 0, value=moved, output=1.5 * output.T)
    write_head(model, 1, 1, value=moved, output=-1.5 * output.T)
    write_head(model, 1, 2, value=junk, output=junk.T)
    readout = torch.zeros(_LAYOUT.d_model, D_VOCAB)
    readout[:, :N_SYMBOLS] = GAIN * output
    write_unembedding(model, readout)
    return model


def pairs(
    n: int, seed: int
) -> tuple[Int[Tensor, "n pos"], Int[Tensor, "n pos"], Int[Tensor, "n 1"], Int[Tensor, "n 1"]]:
    """`n` seeded prompts as clean tokens, corrupt tokens, answers, distractors; every prompt has 3 positions."""
    generator = torch.Generator().manual_seed(seed)
    x, y = different(n, N_SYMBOLS, 2, generator)
    fillers = [N_SYMBOLS + filler for filler in different(n, N_FILLERS, 4, generator)]
    clean, corrupt = torch.stack([x, *fillers[:2]], dim=1), torch.stack([y, *fillers[2:]], dim=1)
    return clean, corrupt, x[:, None], y[:, None]
