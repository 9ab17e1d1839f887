"""Texts that a tuned lens is trained and tried on: cut into contexts of one length, split by document."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from interp.errors import InputError
from interp.models.tokens import bos_token, to_tokens, tokenizer_of

Texts = Iterable[str | tuple[str, str]] | Tensor
"""Documents, as texts or as (name, text): contexts are drawn from all of a list, and an iterator is read in order, as
far as needed. Or token ids [context, pos]."""


def split_documents(documents: Iterable[tuple[str, str]], held_out: bool, share: float = 0.1) -> list[tuple[str, str]]:
    """One side of a split by a hash of each document's name: the same on every machine, whatever their order."""
    if not 0 < share < 1:
        raise InputError(f"the held-out share of the documents lies between 0 and 1, not {share}")
    return [(name, text) for name, text in documents if (_number(name) < share * 2**64) == held_out]


def _number(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")


def as_contexts(
    model: Any, texts: Texts, length: int, n: int | None = None, *, prepend_bos: bool = False, seed: int = 0
) -> Int[Tensor, "context pos"]:
    """Contexts of `length` tokens, each out of one document (what is left at its end is dropped); at most `n` of them.

    Of a list they are drawn at random by `seed`; of an iterator they are the first. prepend_bos: each begins with BOS,
    which counts. Raises InputError where no document fills a context, for a length that the model does not take, and
    for texts where it has no tokenizer.
    """
    limit = getattr(model.cfg, "n_ctx", None)
    if length < 2 or (limit is not None and length > limit):
        raise InputError(f"a context has from 2 to {limit or 'any number of'} tokens in this model, not {length}")
    if isinstance(texts, Tensor):
        return _cut_tensor(model, texts, length, n)
    if isinstance(texts, str):
        texts = [texts]
    tokenizer_of(model)
    start = torch.tensor([bos_token(model)] if prepend_bos else [], dtype=torch.long)
    body = length - len(start)
    rows: list[Tensor] = []
    longest = n_documents = 0
    for document in texts:
        text = document if isinstance(document, str) else document[1]
        tokens = to_tokens(model, text, prepend_bos=False) if text.strip() else torch.empty(0, dtype=torch.long)
        n_documents, longest = n_documents + 1, max(longest, len(tokens))
        whole = tokens[: len(tokens) // body * body].view(-1, body)
        rows += [torch.cat([start, row]) for row in whole]
        if n is not None and len(rows) >= n and not isinstance(texts, Sequence):
            break
    if not rows:
        raise InputError(
            f"the longest of {n_documents} texts has {longest} tokens and a context takes {body}; use longer texts or "
            "a shorter context"
        )
    if n is not None and n < len(rows) and isinstance(texts, Sequence):
        rows = [rows[i] for i in torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).tolist()]
    return torch.stack(rows[:n])


def _cut_tensor(model: Any, tokens: Tensor, length: int, n: int | None) -> Tensor:
    if tokens.ndim != 2 or tokens.is_floating_point() or not len(tokens):
        raise InputError(f"tokens must be integers [context, pos], not {tokens.dtype} of shape {tuple(tokens.shape)}")
    if tokens.shape[1] < length:
        raise InputError(f"the texts have {tokens.shape[1]} tokens and a context takes {length}; use a shorter context")
    if int(tokens.min()) < 0 or int(tokens.max()) >= int(model.cfg.d_vocab):
        raise InputError(f"a token id is outside of the model's vocabulary, 0 to {int(model.cfg.d_vocab) - 1}")
    return tokens.as_subclass(Tensor)[:n, :length].long().cpu()


def tokens_sha256(contexts: Int[Tensor, "context pos"]) -> str:
    """Which texts these are."""
    return hashlib.sha256(contexts.contiguous().numpy().tobytes()).hexdigest()
