"""Whatever a user gives as prompts, as tokens: a text, several texts, token ids, or a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from interp.errors import InputError
from interp.hooks.prompts import PromptTokens, prompt_tokens
from interp.models.tokens import to_strings, to_tokens
from interp.tasks.pairs import PromptPairs
from interp.tasks.token_tensors import pad_right

Prompts = str | Sequence[str] | Tensor | PromptPairs


def as_prompts(model: Any, given: Prompts, *, prepend_bos: bool = False, shortest: int = 1) -> PromptTokens:
    """Right-padded token ids [batch, pos] that know their lengths.

    given: a text or a list of texts (BOS is put before each only where `prepend_bos` says so), token ids [batch, pos]
    or [pos] (as they are), or a task (its clean prompts). shortest: fewest real tokens a prompt may have. Raises
    InputError for prompts that are empty, too short, too long for the model, or not of its vocabulary.
    """
    if prepend_bos and isinstance(given, PromptPairs | Tensor):
        raise InputError(
            "prepend_bos is for texts; tokens and tasks are taken as they are, so begin them with BOS there"
        )
    if isinstance(given, PromptPairs):
        prompts = given.clean
    elif isinstance(given, Tensor):
        prompts = given if isinstance(given, PromptTokens) else prompt_tokens(_matrix(given))
    else:
        texts = [given] if isinstance(given, str) else list(given)
        if not texts or not all(isinstance(text, str) for text in texts):
            raise InputError("give a text, a list of texts, a tensor of token ids, or a task")
        rows = [to_tokens(model, text, prepend_bos).tolist() for text in texts]
        prompts = prompt_tokens(pad_right(rows, pad_id=0), lengths=torch.tensor([len(row) for row in rows]))
    _check(model, prompts, shortest)
    return prompts


def has_bos(given: Prompts, prepend_bos: bool) -> bool | None:
    """Whether prompts begin with BOS, as a result's settings say it: None for token ids, which say nothing of it."""
    if isinstance(given, PromptPairs):
        return given.prepend_bos
    return None if isinstance(given, Tensor) else prepend_bos


def strings_of(model: Any, prompts: PromptTokens) -> list[list[str]]:
    """The text of every real token of every prompt."""
    plain = prompts.as_subclass(Tensor).cpu()
    return [to_strings(model, row[:length]) for row, length in zip(plain, prompts.lengths.tolist())]


def described(given: object) -> dict[str, Any]:
    """What a result's provenance says of the prompts: {"task": ..., "seed": ...}, both None unless they are a task."""
    if not isinstance(given, PromptPairs):
        return {"task": None, "seed": None}
    return {"task": given.describe(), "seed": given.seed}


def _matrix(tokens: Tensor) -> Tensor:
    if tokens.is_floating_point() or tokens.ndim not in (1, 2) or tokens.numel() == 0:
        raise InputError(f"tokens must be integers [batch, pos], not {tokens.dtype} of shape {tuple(tokens.shape)}")
    return tokens[None] if tokens.ndim == 1 else tokens


def _check(model: Any, prompts: PromptTokens, shortest: int) -> None:
    n_vocab, n_ctx = int(model.cfg.d_vocab), getattr(model.cfg, "n_ctx", None)
    lowest, highest = int(prompts.min()), int(prompts.max())
    if lowest < 0 or highest >= n_vocab:
        wrong = lowest if lowest < 0 else highest
        raise InputError(f"token id {wrong} is outside of the model's vocabulary, 0 to {n_vocab - 1}")
    fewest = int(prompts.lengths.min())
    if fewest < shortest:
        raise InputError(f"a prompt has {fewest} token{'s' * (fewest > 1)}; this needs at least {shortest}")
    if n_ctx is not None and int(prompts.lengths.max()) > n_ctx:
        raise InputError(f"a prompt has {int(prompts.lengths.max())} tokens and the model takes {n_ctx}; shorten it")
