"""A user's own task from token tensors, which also serves models without a tokenizer.

Every other task is made here too, so padding, widths and roles are handled in one place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from interp.errors import InputError
from interp.hooks.prompts import PromptTokens, prompt_tokens
from interp.tasks.checks import check_token_ids
from interp.tasks.pairs import PromptPairs

Tokens = Tensor | Sequence[Sequence[int]]
Sets = Tensor | Sequence[int] | Sequence[Sequence[int]]
Lengths = Tensor | Sequence[int]
Positions = Mapping[str, Lengths]


def from_tokens(
    clean: Tokens,
    corrupt: Tokens,
    answers: Sets,
    distractors: Sets | None = None,
    *,
    lengths: Lengths | None = None,
    corrupt_lengths: Lengths | None = None,
    positions: Positions | None = None,
    corrupt_positions: Positions | None = None,
    groups: Sequence[str] | None = None,
    pad_id: int = 0,
    prepend_bos: bool = False,
    name: str = "custom",
    n_vocab: int | None = None,
    seed: int | None = None,
    settings: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
    tokenizer: Any = None,
) -> PromptPairs:
    """Pairs from token ids.

    clean, corrupt: [batch, pos] integers, or lists of different lengths, which are right-padded with `pad_id`; clean
    and corrupt are brought to one width. lengths, corrupt_lengths: real tokens of each row of a padded tensor (default:
    the whole row). answers, distractors: one id a pair, or a set a pair (lists, or a matrix padded with -1).
    positions: role -> index of each pair, of the clean tokens; corrupt_positions likewise (default: the same). "end",
    where the answer is predicted, is the last real token unless given. groups: a label a pair (default "all").
    prepend_bos: whether the given tokens begin with a BOS; none is added. n_vocab: refuse ids from there on.

    Raises InputError when lengths, positions, ids or the numbers of rows do not fit.
    """
    clean_tokens, clean_lengths = _padded(clean, lengths, "clean", pad_id, n_vocab)
    corrupt_tokens, corrupt_lengths = _padded(corrupt, corrupt_lengths, "corrupt", pad_id, n_vocab)
    n_pairs = len(clean_tokens)
    if n_pairs != len(corrupt_tokens) or n_pairs == 0:
        raise InputError(f"there are {n_pairs} clean and {len(corrupt_tokens)} corrupt prompts; give at least one pair")
    if distractors is None:
        distractors = torch.empty(n_pairs, 0, dtype=torch.long)
    width, device = max(clean_tokens.shape[1], corrupt_tokens.shape[1]), clean_tokens.device
    corrupt_roles = positions if corrupt_positions is None else corrupt_positions
    return PromptPairs(
        name=name,
        clean=_prompts(clean_tokens, clean_lengths, positions, groups, pad_id, width, "clean"),
        corrupt=_prompts(corrupt_tokens, corrupt_lengths, corrupt_roles, groups, pad_id, width, "corrupt"),
        answers=_token_sets(answers, "answers", n_pairs, n_vocab).to(device),
        distractors=_token_sets(distractors, "distractors", n_pairs, n_vocab).to(device),
        prepend_bos=prepend_bos,
        pad_id=pad_id,
        seed=seed,
        settings=dict(settings or {}),
        notes=tuple(notes),
        tokenizer=tokenizer,
    )


def pad_right(rows: Sequence[Sequence[int]], pad_id: int) -> Int[Tensor, "batch pos"]:
    """Lists of token ids as one matrix, shorter rows filled up on the right."""
    width = max((len(row) for row in rows), default=0)
    filled = [[*row, *[pad_id] * (width - len(row))] for row in rows]
    return torch.tensor(filled, dtype=torch.long).reshape(len(rows), width)


def _padded(
    tokens: Tokens, lengths: Lengths | None, side: str, pad_id: int, n_vocab: int | None
) -> tuple[Int[Tensor, "batch pos"], Int[Tensor, " batch"]]:
    """Prompts as a checked matrix, and how many tokens of each row are real."""
    if hasattr(tokens, "__array__"):  # tensors and NumPy arrays
        matrix = torch.as_tensor(tokens)
        deduced = [matrix.shape[-1]] * len(matrix)
    else:
        if lengths is not None:
            raise InputError(f"lists say their own lengths; leave out the lengths of the {side} prompts")
        matrix, deduced = pad_right(tokens, pad_id), [len(row) for row in tokens]
    check_token_ids(matrix, side, lowest=0, n_vocab=n_vocab)
    return matrix.long(), _index(deduced if lengths is None else lengths, f"{side} lengths")


def _prompts(
    tokens: Int[Tensor, "batch pos"],
    lengths: Int[Tensor, " batch"],
    positions: Positions | None,
    groups: Sequence[str] | None,
    pad_id: int,
    width: int,
    side: str,
) -> PromptTokens:
    """Tokens brought to `width` that know their lengths, roles ("end" among them) and groups."""
    roles = {role: _index(index, f"{side} position {role!r}") for role, index in (positions or {}).items()}
    roles.setdefault("end", lengths - 1)
    wide = torch.nn.functional.pad(tokens, (0, width - tokens.shape[1]), value=pad_id)
    try:
        return prompt_tokens(wide, lengths=lengths, positions=roles, groups=groups)
    except ValueError as problem:
        raise InputError(f"{side} prompts: {problem}") from None


def _index(values: Lengths, what: str) -> Int[Tensor, " batch"]:
    index = torch.as_tensor(values) if len(values) else torch.empty(0, dtype=torch.long)
    if index.ndim != 1 or index.is_floating_point() or index.dtype == torch.bool:
        raise InputError(f"{what} must be one integer a pair, not {index.dtype} of shape {tuple(index.shape)}")
    return index.long()


def _token_sets(tokens: Sets, what: str, n_pairs: int, n_vocab: int | None) -> Int[Tensor, "batch choice"]:
    """One id a pair, lists of ids, or a padded matrix, as a matrix padded with -1."""
    if hasattr(tokens, "__array__"):
        matrix = torch.as_tensor(tokens)
        matrix = matrix[:, None] if matrix.ndim == 1 else matrix
    else:
        matrix = pad_right([row if isinstance(row, Sequence) else [row] for row in tokens], pad_id=-1)
    check_token_ids(matrix, what, lowest=-1, n_vocab=n_vocab)
    if len(matrix) != n_pairs:
        raise InputError(f"{what} have {len(matrix)} rows for {n_pairs} pairs; give one row a pair")
    return matrix.long()
