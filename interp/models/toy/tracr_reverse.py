"""A program compiled into weights: `reverse`, by tracr, through TransformerLens's converter. Needs the extra `tracr`.

The RASP program reverse(tokens) = aggregate(select(indices, length - indices - 1, ==), tokens) becomes four layers of
one head and one MLP (Lindner et al. 2023, "Tracr: Compiled Transformers as a Laboratory for Interpretability"). It is
compiled with causal attention, under which the last position, the only one that is read here, still sees everything.

    a0.0, m0, m1, m2  count the tokens and compute where to look, from positions alone
    a3.0              attends there and copies the token: at the last position, the first token after BOS
    a1.0, a2.0, m3    nothing
    the logits read the copied token; their columns are the letters without BOS and padding

Prompts. BOS and five letters; the corrupt prompt renames the letters without a fixed point, so positions are equal.
The answer is the first letter of the clean prompt, the distractor that of the corrupt one. m(clean) = 1, m(corrupt) =
-1.

Truth. Under counterfactual ablation, in both directions, two edges carry the letter and nothing else counts: embed ->
a3.0.v and a3.0 -> logits (Miller et al. 2024, "Transformer Circuit Faithfulness Metrics are not Robust"). Zero ablation
also breaks the counting; which of its edges then show is not stated here.
"""

from __future__ import annotations

import importlib
import warnings
from types import MappingProxyType
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.utilities.tracr import make_tracr_transformer_bridge_config as tracr_config
from transformer_lens.utilities.tracr import make_tracr_transformer_bridge_state_dict as tracr_weights

from interp.errors import InputError
from interp.models.toy.truth import DENOISE, NOISE, Edge, Truth, edge_names

BOS = 0
LETTERS = ("a", "b", "c", "d")
LENGTH = 5
_INPUTS = (1, 2, 3, 5)
"""Input ids of the letters; 4 is the padding that tracr adds. Their output columns are 0 to 3."""

CIRCUIT: tuple[Edge, ...] = (("embed", "a3.0.v"), ("a3.0", "logits"))
_EFFECTS = dict.fromkeys(CIRCUIT, 2.0)

TRUTH = Truth(
    edges=edge_names(n_layers=4, n_heads=1, attn_only=False),
    active=MappingProxyType({NOISE: frozenset(CIRCUIT), DENOISE: frozenset(CIRCUIT)}),
    effects=MappingProxyType({NOISE: _EFFECTS, DENOISE: _EFFECTS}),
    sufficient=(frozenset(CIRCUIT),),
    sufficient_zero=None,
    total=2.0,
)


def build() -> TransformerBridge:
    """Compile and convert the program; half a minute. Raises InputError when tracr is not installed."""
    compiled = _compile()
    if [compiled.input_encoder.encoding_map[letter] for letter in LETTERS] != list(_INPUTS):
        raise InputError("this version of tracr numbers tokens differently; install tracr-pypi 1.0")
    model = TransformerBridge.boot_native(tracr_config(compiled), model_name="toy/tracr_reverse")
    # Not strict: the bridge knows every tensor by two names and the converter sets one of them.
    model.load_state_dict(tracr_weights(compiled), strict=False)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model.eval()


def pairs(
    n: int, seed: int
) -> tuple[Int[Tensor, "n pos"], Int[Tensor, "n pos"], Int[Tensor, "n 1"], Int[Tensor, "n 1"]]:
    """`n` seeded prompts as clean tokens, corrupt tokens, answers, distractors (output columns); 6 positions."""
    generator = torch.Generator().manual_seed(seed)
    letters = torch.randint(len(LETTERS), (n, LENGTH), generator=generator)
    shift = torch.randint(1, len(LETTERS), (n, 1), generator=generator)
    renamed = (letters + shift) % len(LETTERS)
    clean, corrupt = (_prompts(chosen) for chosen in (letters, renamed))
    return clean, corrupt, letters[:, :1], renamed[:, :1]


def _prompts(letters: Int[Tensor, "n letter"]) -> Int[Tensor, "n pos"]:
    return torch.nn.functional.pad(torch.tensor(_INPUTS)[letters], (1, 0), value=BOS)


def _compile() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of jax and haiku about their own ways
        try:
            compiling, lib, rasp = (
                importlib.import_module(f"tracr.{name}") for name in ("compiler.compiling", "compiler.lib", "rasp.rasp")
            )
        except ImportError as error:
            raise InputError(
                f"toy/tracr_reverse needs tracr ({error}); pip install 'interp-workbench[tracr]'"
            ) from None
        program = lib.make_reverse(rasp.tokens)
        return compiling.compile_rasp_to_model(
            program, vocab=set(LETTERS), max_seq_len=LENGTH, compiler_bos="BOS", causal=True
        )
