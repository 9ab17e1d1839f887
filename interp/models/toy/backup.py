"""A head with a backup that stays silent while it works: self-repair, as with backup name movers.

Construction. Two attention-only layers; the residual stream is `token | output | junk | position`.

    a0.0  primary: attends to position 1, copies its symbol -> output
    a0.1  decoy: attends evenly, copies the symbols -> junk
    a1.0  backup: attends to position 2 and copies its symbol -> output, unless `output` already holds a symbol, which
          it reads in its query: then it attends to BOS, which it copies nothing from
    a1.1  decoy: attends evenly, copies junk -> junk
    the logits read `output` alone, times GAIN

Position 2 scores BETA, BOS 5·BETA for a whole symbol in `output`; saturated either way (e^-20 elsewhere).

Prompts. Clean "BOS x x f .", corrupt "BOS g h f .": x a symbol, f, g, h different fillers, which no head copies; answer
x, distractor another symbol. m(clean) = GAIN, m(corrupt) = 0.

Truth. Corrupting what the primary reads is repaired by the backup: no effect. Corrupting what it writes into the logits
alone is not, since the backup still sees it at work: GAIN; and corrupting what the backup sees makes both speak: -GAIN,
an effect through saturated attention, to which a gradient is blind. The edge a1.0 -> logits shows in neither direction,
though it is half of an irreducible sufficient set: no single-edge method can find it. Denoising shows three edges.
Under zero ablation even attention over the five positions leaves 2/5 of a symbol.

Backup heads: Wang et al. 2022, "Interpretability in the Wild"; self-repair: McGrath et al. 2023, "The
Hydra Effect".
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
N_CTX = 5
GAIN = 10.0
BETA = 20.0
_SYMBOLS = slice(1, 1 + N_SYMBOLS)
_STOP = D_VOCAB - 1
_LAYOUT = Layout(token=D_VOCAB, output=N_SYMBOLS, junk=N_SYMBOLS, position=N_CTX)
_SHAPE = Shape(n_layers=2, n_heads=2, d_model=_LAYOUT.d_model, d_head=N_SYMBOLS, n_ctx=N_CTX, d_vocab=D_VOCAB)

PRIMARY: tuple[Edge, ...] = (("embed", "a0.0.v"), ("a0.0", "logits"))
BACKUP: tuple[Edge, ...] = (("embed", "a1.0.v"), ("a1.0", "logits"))
INHIBITION: Edge = ("a0.0", "a1.0.q")
_FINDS_PRIMARY: tuple[Edge, ...] = (("embed", "a0.0.q"), ("embed", "a0.0.k"))
_FINDS_BACKUP: tuple[Edge, ...] = (("embed", "a1.0.q"), ("embed", "a1.0.k"))

_NOISE: dict[Edge, float] = {("a0.0", "logits"): GAIN, INHIBITION: -GAIN}
_DENOISE = dict.fromkeys((*PRIMARY, ("embed", "a1.0.v")), GAIN)
_ZERO = _NOISE | dict.fromkeys(_FINDS_PRIMARY, 3 / 5 * GAIN) | {("embed", "a1.0.k"): -2 / 5 * GAIN}

TRUTH = Truth(
    edges=edge_names(n_layers=2, n_heads=2, attn_only=True),
    active=MappingProxyType({NOISE: frozenset(_NOISE), DENOISE: frozenset(_DENOISE), ZERO: frozenset(_ZERO)}),
    effects=MappingProxyType({NOISE: _NOISE, DENOISE: _DENOISE, ZERO: _ZERO}),
    sufficient=(frozenset(PRIMARY), frozenset(BACKUP)),
    sufficient_zero=(frozenset(PRIMARY + _FINDS_PRIMARY), frozenset(BACKUP + _FINDS_BACKUP)),
    total=GAIN,
    flat=MappingProxyType({NOISE: frozenset({INHIBITION}), DENOISE: frozenset()}),
)


def build() -> TransformerBridge:
    """The model, without a tokenizer."""
    model = blank("toy/backup", _SHAPE)
    output, junk, position = _LAYOUT["output"], _LAYOUT["junk"], _LAYOUT["position"]
    symbol, one = _LAYOUT["token"][:, _SYMBOLS], position.sum(1, keepdim=True)
    write_embeddings(model, _LAYOUT["token"].T, position.T)
    write_head(model, 0, 0, query=BETA * one, key=position[:, 1:2], value=symbol, output=output.T)
    write_head(model, 0, 1, value=symbol, output=junk.T)
    written = output.sum(1, keepdim=True)
    looks_for = torch.cat([5 * BETA * written, BETA * one], dim=1)
    write_head(model, 1, 0, query=looks_for, key=position[:, [0, 2]], value=symbol, output=output.T)
    write_head(model, 1, 1, value=junk, output=junk.T)
    readout = torch.zeros(_LAYOUT.d_model, D_VOCAB)
    readout[:, _SYMBOLS] = GAIN * output
    write_unembedding(model, readout)
    return model


def pairs(
    n: int, seed: int
) -> tuple[Int[Tensor, "n pos"], Int[Tensor, "n pos"], Int[Tensor, "n 1"], Int[Tensor, "n 1"]]:
    """`n` seeded prompts as clean tokens, corrupt tokens, answers, distractors; every prompt has 5 positions."""
    generator = torch.Generator().manual_seed(seed)
    x, other = (1 + symbol for symbol in different(n, N_SYMBOLS, 2, generator))
    f, g, h = (1 + N_SYMBOLS + filler for filler in different(n, N_FILLERS, 3, generator))
    bos, stop = torch.full_like(x, BOS), torch.full_like(x, _STOP)
    clean = torch.stack([bos, x, x, f, stop], dim=1)
    corrupt = torch.stack([bos, g, h, f, stop], dim=1)
    return clean, corrupt, x[:, None], other[:, None]
