"""AND: the answer is given when both inputs say it. Invisible to putting one clean input into the corrupt run.

Construction. Two heads fetch two symbols, m0 computes for each symbol

    result = relu(2·left + 2·right - 3)        1 when both are that symbol, 0 when one is or none

(layout, decoys and readout in `gates.py`). The 3 is read from the embedding.

Prompts. Clean "x x =", corrupt "y z =", x, y and z different symbols; answer x, distractor y. m(clean) = GAIN,
m(corrupt) = 0.

Truth. Noising either input, at its value or at the gate, turns the answer off, as does the gate's own output: effect
GAIN for five edges, which are also the one irreducible sufficient set. Denoising an input turns nothing on, since the
other is still missing, so that only the gate's output is seen. The gate's slope at the clean run is 2 where the
measured step is 1: edge attribution there gives the four input edges twice their effect, and integrated gradients,
whose path raises both inputs together, half of it (2/5 with five steps). Zero ablation adds the threshold, embed -> m0
(without it the gate gives 4), and the positions by which the heads find their inputs (even attention over x, x and "="
leaves 2/3 of the input, and the gate gives 1/3).

Conmy et al. 2023 use logic gates as toys; effects by kind of gate are discussed by Mueller 2024, "Missed Causes and
Ambiguous Effects".
"""

from __future__ import annotations

from types import MappingProxyType

import torch
from jaxtyping import Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from interp.models.toy.gates import EDGES, GAIN, LAYOUT, N_SYMBOLS, ONE, build_gate, different, prompts
from interp.models.toy.truth import DENOISE, NOISE, ZERO, Edge, Truth

CIRCUIT: tuple[Edge, ...] = (
    ("embed", "a0.0.v"),
    ("embed", "a0.1.v"),
    ("a0.0", "m0"),
    ("a0.1", "m0"),
    ("m0", "logits"),
)
_POSITIONAL: tuple[Edge, ...] = tuple(("embed", f"a0.{head}.{letter}") for head in (0, 1) for letter in "qk")
_THRESHOLD: Edge = ("embed", "m0")

_NOISE = dict.fromkeys(CIRCUIT, GAIN)
_DENOISE = {("m0", "logits"): GAIN}
_ZERO = _NOISE | {_THRESHOLD: -3 * GAIN} | dict.fromkeys(_POSITIONAL, 2 / 3 * GAIN)

TRUTH = Truth(
    edges=EDGES,
    active=MappingProxyType({NOISE: frozenset(_NOISE), DENOISE: frozenset(_DENOISE), ZERO: frozenset(_ZERO)}),
    effects=MappingProxyType({NOISE: _NOISE, DENOISE: _DENOISE, ZERO: _ZERO}),
    sufficient=(frozenset(CIRCUIT),),
    sufficient_zero=(frozenset(CIRCUIT + _POSITIONAL + (_THRESHOLD,)),),
    total=GAIN,
)


def build() -> TransformerBridge:
    """The model, without a tokenizer."""
    inputs = LAYOUT["left"] + LAYOUT["right"]
    return build_gate("toy/and", read=2 * inputs - 3 * ONE, write=LAYOUT["result"].T)


def pairs(
    n: int, seed: int
) -> tuple[Int[Tensor, "n pos"], Int[Tensor, "n pos"], Int[Tensor, "n 1"], Int[Tensor, "n 1"]]:
    """`n` seeded prompts as clean tokens, corrupt tokens, answers, distractors; every prompt has 3 positions."""
    generator = torch.Generator().manual_seed(seed)
    x, y, z = different(n, N_SYMBOLS, 3, generator)
    return prompts(x, x), prompts(y, z), x[:, None], y[:, None]
