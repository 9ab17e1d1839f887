"""OR: either input suffices, the other is its backup. Invisible to corrupting one input in the clean run.

Construction. Two heads fetch two symbols, m0 computes for each symbol a step that is flat at 0, 1 and 2 inputs,

    result = 2·relu(s - 1/4) - 2·relu(s - 3/4)   with s = left + right       0 for s = 0, 1 for s = 1 and s = 2

(layout, decoys and readout in `gates.py`). The thresholds are read from the embedding.

Prompts. Clean "x x =", corrupt two different fillers and "=", where fillers are no input at all; answer x, distractor
another symbol. m(clean) = GAIN, m(corrupt) = 0.

Truth. Noising an input is answered by the other: only the gate's output shows. Denoising either input turns the answer
on: effect GAIN, the total, for five edges. There are two irreducible sufficient sets, one an input, and their union is
the circuit in any sense but the single-edge one. The gate is flat in the clean and in the corrupt run, so edge
attribution at either gives the inputs zero: rightly for noising, blindly for denoising. Integrated gradients between
the two see half of GAIN for each input edge (2/5 with five steps). Zero ablation shows the thresholds, embed -> m0,
without which the gate gives 0; two heads that attend evenly bring 2/3 of the symbol each, which together are enough and
alone are not.
"""

from __future__ import annotations

from types import MappingProxyType

import torch
from jaxtyping import Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from interp.models.toy.gates import (
    EDGES,
    GAIN,
    LAYOUT,
    N_FILLERS,
    N_SYMBOLS,
    ONE,
    build_gate,
    different,
    prompts,
)
from interp.models.toy.truth import DENOISE, NOISE, ZERO, Edge, Truth

INPUTS: tuple[tuple[Edge, Edge], ...] = tuple((("embed", f"a0.{head}.v"), (f"a0.{head}", "m0")) for head in (0, 1))
"""The two edges of each input."""
OUTPUT: Edge = ("m0", "logits")
_THRESHOLDS: Edge = ("embed", "m0")
_FINDS: tuple[tuple[Edge, Edge], ...] = tuple((("embed", f"a0.{h}.q"), ("embed", f"a0.{h}.k")) for h in (0, 1))

_NOISE = {OUTPUT: GAIN}
_DENOISE = dict.fromkeys((*INPUTS[0], *INPUTS[1], OUTPUT), GAIN)
_ZERO = {OUTPUT: GAIN, _THRESHOLDS: GAIN}

TRUTH = Truth(
    edges=EDGES,
    active=MappingProxyType({NOISE: frozenset(_NOISE), DENOISE: frozenset(_DENOISE), ZERO: frozenset(_ZERO)}),
    effects=MappingProxyType({NOISE: _NOISE, DENOISE: _DENOISE, ZERO: _ZERO}),
    sufficient=tuple(frozenset((*path, OUTPUT)) for path in INPUTS),
    sufficient_zero=(
        frozenset((*INPUTS[0], *INPUTS[1], OUTPUT, _THRESHOLDS)),
        *(frozenset((*path, *finds, OUTPUT, _THRESHOLDS)) for path, finds in zip(INPUTS, _FINDS)),
    ),
    total=GAIN,
    flat=MappingProxyType({NOISE: frozenset(), DENOISE: frozenset(INPUTS[0] + INPUTS[1])}),
)


def build() -> TransformerBridge:
    """The model, without a tokenizer."""
    inputs, result = LAYOUT["left"] + LAYOUT["right"], LAYOUT["result"]
    read = torch.cat([inputs - ONE / 4, inputs - 3 / 4 * ONE], dim=1)
    return build_gate("toy/or", read=read, write=torch.cat([2 * result.T, -2 * result.T]))


def pairs(
    n: int, seed: int
) -> tuple[Int[Tensor, "n pos"], Int[Tensor, "n pos"], Int[Tensor, "n 1"], Int[Tensor, "n 1"]]:
    """`n` seeded prompts as clean tokens, corrupt tokens, answers, distractors; every prompt has 3 positions."""
    generator = torch.Generator().manual_seed(seed)
    x, other = different(n, N_SYMBOLS, 2, generator)
    first, second = different(n, N_FILLERS, 2, generator)
    return prompts(x, x), prompts(N_SYMBOLS + first, N_SYMBOLS + second), x[:, None], other[:, None]
