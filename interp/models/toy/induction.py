"""A two-layer attention-only transformer whose induction circuit is known exactly: 5 of its 29 edges.

Construction. The residual stream is five blocks side by side, `token | previous | output | junk | position`, each a
one-hot code, without normalisation, MLPs or biases. The vocabulary is BOS (0) and 12 tokens.

    a0.0  previous-token head: query "my position - 1", key "my position"; copies token -> previous
    a0.1  decoy: attends evenly; copies token -> junk
    a1.0  induction head: query `token`, key `previous`; copies token -> output
    a1.1  decoy: query `token`, key `token` (attends to duplicates and itself); copies token -> junk
    the logits read `output` alone, times GAIN

A matching query and key score `beta`, all others 0. At beta = 20 attention is saturated (at most 26·e^-20 = 5e-8 of it
goes elsewhere) and gradients through it vanish: plain edge attribution gives three of the five edges a score of zero
and integrated gradients find them far too small, so a test should compare sizes and ranks, not only which edges were
found. beta = 6 is the gentle variant. BOS is needed: without it the first position, which can attend to nothing else,
would copy itself into `previous` and draw the attention of its own token.

Prompts. BOS, the 12 tokens in random order, the same again; the next token is the first of the order. The corrupt
prompt renames the 12 tokens by a permutation without fixed points, so that every position means the same in both.
Permutations are drawn such that patching a single edge never makes a1.0 copy the answer or the distractor by accident.
Hence every effect is a whole number, the same for all pairs and in both directions, up to the 5e-8.

Truth. Patching ("counterfactual") any edge but the five of CIRCUIT changes nothing. The values of a0.0 and the corrupt
queries or keys point to the wrong place and bring m from GAIN to 0; what a1.0 copies or writes decides m alone and
brings it to -GAIN. Positions are equal in both prompts, so the edges that carry them, embed -> a0.0.q and a0.0.k, count
only under zero ablation, with effects that differ from pair to pair; those of the five are GAIN there, since even
attention says nothing and neither does no output.

No edge can be taken out of CIRCUIT alone. But the two of COPYING are sufficient as well, without the three of MATCHING:
a corrupt query and corrupt keys match each other at the same place as the clean ones, because the corrupt prompt
repeats as the clean one does.

The circuit is that of Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits", section on induction
heads.
"""

from __future__ import annotations

from types import MappingProxyType

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from interp.models.toy.native import Shape, blank, write_embeddings, write_head, write_unembedding
from interp.models.toy.truth import DENOISE, NOISE, ZERO, Edge, Truth, edge_names

D_VOCAB = 13
BOS = 0
N_CTX = 27
GAIN = 10.0
"""Logit of the token that a1.0 copies: m(clean) = GAIN, m(corrupt) = -GAIN."""

_N_TOKENS = D_VOCAB - 1
_TOKEN, _PREVIOUS, _OUTPUT, _JUNK = range(4)
_SHAPE = Shape(n_layers=2, n_heads=2, d_model=4 * D_VOCAB + N_CTX, d_head=N_CTX, n_ctx=N_CTX, d_vocab=D_VOCAB)

MATCHING: tuple[Edge, ...] = (("embed", "a0.0.v"), ("a0.0", "a1.0.k"), ("embed", "a1.0.q"))
COPYING: tuple[Edge, ...] = (("embed", "a1.0.v"), ("a1.0", "logits"))
CIRCUIT: tuple[Edge, ...] = MATCHING + COPYING
_POSITIONAL: tuple[Edge, ...] = (("embed", "a0.0.q"), ("embed", "a0.0.k"))
_EFFECTS = dict.fromkeys(MATCHING, GAIN) | dict.fromkeys(COPYING, 2 * GAIN)

TRUTH = Truth(
    edges=edge_names(n_layers=2, n_heads=2, attn_only=True),
    active=MappingProxyType(
        {NOISE: frozenset(CIRCUIT), DENOISE: frozenset(CIRCUIT), ZERO: frozenset(CIRCUIT + _POSITIONAL)}
    ),
    effects=MappingProxyType({NOISE: _EFFECTS, DENOISE: _EFFECTS, ZERO: dict.fromkeys(CIRCUIT, GAIN)}),
    sufficient=(frozenset(COPYING), frozenset(CIRCUIT)),
    sufficient_zero=(frozenset(CIRCUIT + _POSITIONAL),),
    total=2 * GAIN,
    flat=MappingProxyType({NOISE: frozenset(MATCHING), DENOISE: frozenset(MATCHING)}),
)


def build(beta: float = 20.0) -> TransformerBridge:
    """The model, without a tokenizer. `beta` is the score of a matching query and key: the sharpness of attention."""
    model = blank("toy/induction", _SHAPE)
    token, previous, output, junk = (_block(index) for index in (_TOKEN, _PREVIOUS, _OUTPUT, _JUNK))
    position = torch.eye(_SHAPE.d_model)[:, 4 * D_VOCAB :]
    before_me = torch.eye(N_CTX).roll(1, dims=0)
    before_me[0] = 0.0
    write_embeddings(model, token[:, :D_VOCAB].T, position.T)
    write_head(model, 0, 0, query=beta * position @ before_me, key=position, value=token, output=previous.T)
    write_head(model, 0, 1, value=token, output=junk.T)
    write_head(model, 1, 0, query=beta * token, key=previous, value=token, output=output.T)
    write_head(model, 1, 1, query=beta * token, key=token, value=token, output=junk.T)
    write_unembedding(model, GAIN * output[:, :D_VOCAB])
    return model


def pairs(
    n: int, seed: int
) -> tuple[Int[Tensor, "n pos"], Int[Tensor, "n pos"], Int[Tensor, "n 1"], Int[Tensor, "n 1"]]:
    """`n` seeded prompts as clean tokens, corrupt tokens, answers, distractors; every prompt has 25 positions."""
    generator = torch.Generator().manual_seed(seed)
    drawn = [_draw(generator) for _ in range(n)]
    clean = torch.stack([_prompt(order) for order, _ in drawn])
    corrupt = torch.stack([_prompt(renamed[order]) for order, renamed in drawn])
    return clean, corrupt, clean[:, 1:2].clone(), corrupt[:, 1:2].clone()


def _block(index: int) -> Float[Tensor, "d_model d_head"]:
    """Reads one of the four token codes of the residual stream into the first D_VOCAB dimensions of a head."""
    reader = torch.zeros(_SHAPE.d_model, _SHAPE.d_head)
    reader[index * D_VOCAB : (index + 1) * D_VOCAB, :D_VOCAB] = torch.eye(D_VOCAB)
    return reader


def _prompt(order: Int[Tensor, "token"]) -> Int[Tensor, "pos"]:
    return torch.cat([torch.tensor([BOS]), order, order])


def _draw(generator: torch.Generator) -> tuple[Int[Tensor, "token"], Int[Tensor, "vocab"]]:
    """An order of the 12 tokens and a renaming of the vocabulary (BOS stays) that leaves no accident possible."""
    order = 1 + torch.randperm(_N_TOKENS, generator=generator)
    while True:
        renamed = torch.cat([torch.tensor([BOS]), 1 + torch.randperm(_N_TOKENS, generator=generator)])
        if _without_accidents(order.tolist(), renamed.tolist()):
            return order, renamed


def _without_accidents(order: list[int], renamed: list[int]) -> bool:
    """Whether no single patched edge makes a1.0 copy the answer order[0] or the distractor renamed[order[0]].

    With one of query and keys renamed, a1.0 looks for the last token's namesake: the token that the last one is
    renamed to, or the one that is renamed to the last. What follows it, by either name, must be neither of the two.
    """
    if any(renamed[token] == token for token in order):
        return False
    answer, distractor, last = order[0], renamed[order[0]], order[-1]
    namesakes = (renamed[last], renamed.index(last))
    followers = [order[order.index(namesake) + 1] for namesake in namesakes]
    return all(distractor != token and renamed[token] != answer for token in followers)
