"""A model whose logits read one property of a token and ignore another, though both can be read from its activations.

The residual stream is `used | unused | noun | junk`: two signs, a one-hot code, and four dimensions of random size a
token. Its blocks do nothing; the logit of YES is GAIN times the used sign, that of NO the opposite, all others 0.
"""

from __future__ import annotations

from functools import cache

import torch
from transformer_lens.model_bridge import TransformerBridge

from interp.models.toy.native import Layout, Shape, blank, write_embeddings, write_unembedding
from interp.probing import Answers, LabelledTokens, labelled_tokens

N_NOUNS = 24
YES, NO, D_VOCAB = 4 * N_NOUNS, 4 * N_NOUNS + 1, 4 * N_NOUNS + 2
GAIN = 2.0
MARGIN = 2 * GAIN
ANSWERS = Answers({"plus": (YES,), "minus": (NO,)})


@cache
def model() -> TransformerBridge:
    """The model, without a tokenizer."""
    layout = Layout(used=1, unused=1, noun=N_NOUNS, junk=4)
    shape = Shape(n_layers=2, n_heads=1, d_model=layout.d_model, d_head=4, n_ctx=8, d_vocab=D_VOCAB, d_mlp=None)
    made = blank("toy/used_and_unused", shape)
    token = torch.arange(4 * N_NOUNS)
    embeddings = torch.zeros(D_VOCAB, layout.d_model)
    embeddings[token] += _signs(token, "used")[:, None] * layout["used"].T
    embeddings[token] += _signs(token, "unused")[:, None] * layout["unused"].T
    embeddings[token] += layout["noun"].T[token // 4]
    embeddings += torch.randn(D_VOCAB, 4, generator=torch.Generator().manual_seed(0)) @ layout["junk"].T
    write_embeddings(made, embeddings, torch.zeros(8, layout.d_model))
    readout = torch.zeros(layout.d_model, D_VOCAB)
    readout[:, YES], readout[:, NO] = GAIN * layout["used"][:, 0], -GAIN * layout["used"][:, 0]
    write_unembedding(made, readout)
    return made


def _signs(token: torch.Tensor, which: str) -> torch.Tensor:
    return (2 * (token // (1 if which == "used" else 2) % 2) - 1).float()


def examples(which: str, repeats: int = 3) -> LabelledTokens:
    """Every token after another one, labelled by its used or unused sign; nouns are groups."""
    token = torch.arange(4 * N_NOUNS).repeat(repeats)
    before = torch.arange(repeats).repeat_interleave(4 * N_NOUNS)
    labels = ["plus" if sign > 0 else "minus" for sign in _signs(token, which).tolist()]
    groups = [f"noun {i}" for i in (token // 4).tolist()]
    at = torch.ones(len(token), dtype=torch.long)
    return labelled_tokens(torch.stack([before, token], 1), labels, at, groups=groups, name=which, group_is="noun")
