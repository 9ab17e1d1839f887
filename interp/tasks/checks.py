"""Whether the parts of a task fit together: shapes, ranges, and answers that can be told from distractors."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from interp.errors import InputError
from interp.hooks.prompts import PromptTokens


def check_pairs(clean: PromptTokens, corrupt: PromptTokens, answers: Tensor, distractors: Tensor) -> None:
    """Raise InputError, naming the pair, when a task could not be scored; warn where its sets overlap."""
    if not isinstance(clean, PromptTokens) or not isinstance(corrupt, PromptTokens):
        raise InputError("prompts must know their lengths; make the task with interp.tasks.from_tokens(...)")
    if clean.shape != corrupt.shape:
        raise InputError(f"clean is {tuple(clean.shape)} and corrupt {tuple(corrupt.shape)}; pad both to one width")
    for side, tokens in (("clean", clean), ("corrupt", corrupt)):
        check_token_ids(tokens, side, lowest=0)
        if "end" not in tokens.positions:
            raise InputError(f"the {side} prompts need a position 'end', at which the answer is predicted")
    if set(clean.positions) != set(corrupt.positions):
        raise InputError(
            f"clean and corrupt prompts need the same roles; they have {list(clean.positions)} and "
            f"{list(corrupt.positions)}"
        )
    _check_sets(answers, distractors)


def check_token_ids(tokens: Tensor, what: str, *, lowest: int, n_vocab: int | None = None) -> None:
    """Raise InputError unless `tokens` is a matrix of integers from `lowest` to `n_vocab` - 1."""
    if tokens.is_floating_point() or tokens.dtype == torch.bool or tokens.is_complex():
        raise InputError(f"{what} must hold token ids (integers), not {str(tokens.dtype).removeprefix('torch.')}")
    if tokens.ndim != 2:
        raise InputError(f"{what} must be two-dimensional, one row a pair, not of shape {tuple(tokens.shape)}")
    outside = tokens < lowest if n_vocab is None else (tokens < lowest) | (tokens >= n_vocab)
    if bool(outside.any()):
        row = int(outside.any(1).nonzero()[0])
        found = int(tokens[row][outside[row]][0])
        limit = "negative" if n_vocab is None else f"outside the vocabulary (0 to {n_vocab - 1})"
        raise InputError(f"{what} of pair {row} holds the token id {found}, which is {limit}")


def _check_sets(answers: Tensor, distractors: Tensor) -> None:
    """An answer in every row, and no pair whose answers are its distractors."""
    for what, tokens in (("answers", answers), ("distractors", distractors)):
        check_token_ids(tokens, what, lowest=-1)
    empty = ~(answers >= 0).any(1)
    if bool(empty.any()):
        raise InputError(f"pair {int(empty.nonzero()[0])} has no answer; give each pair at least one")
    shared = (answers[:, :, None] == distractors[:, None, :]) & (answers >= 0)[:, :, None]
    same = (shared.any(2) | (answers < 0)).all(1) & (shared.any(1) | (distractors < 0)).all(1)
    if bool(same.any()):
        raise InputError(
            f"the answers of pair {int(same.nonzero()[0])} are also its distractors, so no score can tell them apart"
        )
    overlap = shared.flatten(1).any(1)
    if bool(overlap.any()):
        warnings.warn(
            f"{int(overlap.sum())} pairs share tokens between answers and distractors (first: pair "
            f"{int(overlap.nonzero()[0])}); shared tokens blur the metric",
            stacklevel=4,
        )
