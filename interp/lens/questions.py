"""What a lens is asked about: tokens of the vocabulary, said as text or ids, and positions of prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from interp.errors import InputError
from interp.hooks.prompts import PromptTokens
from interp.hooks.selecting import Positions, position_index
from interp.models.tokens import single_token, to_strings, to_tokens
from interp.tasks.pairs import PromptPairs
from interp.tasks.prompting import Prompts, as_prompts

Token = str | int
Tokens = Token | Sequence[Token] | Tensor


@dataclass(frozen=True, eq=False)
class Question:
    """One prediction of each prompt, and the tokens to tell apart there.

    prompts [batch, pos]. position [batch]: where the prediction is read. answers [batch, answer] or None for the
    model's most probable token there. distractors [batch, distractor] or None for the mean over the vocabulary. Sets
    are padded with -1. settings: how it was asked, JSON-able.
    """

    prompts: PromptTokens
    position: Int[Tensor, " batch"]
    answers: Int[Tensor, "batch answer"] | None
    distractors: Int[Tensor, "batch distractor"] | None
    settings: dict[str, Any]


def ask(
    model: Any,
    prompts: Prompts,
    target: Tokens | None,
    distractor: Tokens | None,
    position: Positions,
    prepend_bos: bool,
) -> Question:
    """The question about one position of each prompt; a task brings its own answers, distractors and position.

    Raises InputError for several positions, and for tokens or positions that do not exist.
    """
    tokens = as_prompts(model, prompts, prepend_bos=prepend_bos)
    settings: dict[str, Any] = {}
    if isinstance(prompts, PromptPairs):
        if target is None and distractor is None:
            target = prompts.answers
            distractor = prompts.distractors if bool((prompts.distractors >= 0).any()) else None
            settings |= {"target": "the task's answers", "distractor": "the task's distractors"}
        position = prompts.metric.position if position is None else position
    n = len(tokens)
    index = position_index(-1 if position is None else position, n, tokens.shape[1], tokens)
    if index.shape[1] != 1:
        raise InputError(f"a direct attribution is of one position of each prompt, not of {index.shape[1]}")
    if bool((index[:, 0] >= tokens.lengths.cpu()).any()):
        raise InputError("a position lies past the end of its prompt; negative positions count from each prompt's end")
    answers = None if target is None else token_columns(model, target, n, "target")
    distractors = None if distractor is None else token_columns(model, distractor, n, "distractor")
    named = {"target": answers, "distractor": distractors}
    settings = {name: _in_words(model, columns) for name, columns in named.items()} | settings
    settings["position"] = position if isinstance(position, int | str) else "last" if position is None else "given"
    return Question(tokens, index[:, 0], answers, distractors, settings)


def _in_words(model: Any, columns: Tensor | None) -> list[str] | str | None:
    """Tokens as they go into a result's settings."""
    if columns is None:
        return None
    return list(token_names(model, columns)) if bool((columns == columns[:1]).all()) else "one for each prompt"


def token_id(model: Any, token: Token) -> int:
    """The id of one token, given as its text (leading space included) or as the id itself.

    Raises InputError for a text of several tokens, naming them, and for an id outside the vocabulary.
    """
    if isinstance(token, str):
        found = single_token(model, token)
        if found is None:
            parts = to_strings(model, to_tokens(model, token, prepend_bos=False)) if token else []
            hint = _with_space(model, token)
            raise InputError(f"{token!r} is {len(parts)} tokens ({parts}) and a target is one{hint}")
        return found
    n_vocab = int(model.cfg.d_vocab)
    if isinstance(token, bool) or not 0 <= int(token) < n_vocab:
        raise InputError(f"token id {token} is outside of the model's vocabulary, 0 to {n_vocab - 1}")
    return int(token)


def _with_space(model: Any, token: str) -> str:
    spaced = f" {token.strip()}"
    fits = token.strip() and spaced != token and single_token(model, spaced) is not None
    return f"; {spaced!r} is one" if fits else "; choose another, or give its first token"


def token_columns(model: Any, tokens: Tokens, n_prompts: int, what: str) -> Int[Tensor, "batch column"]:
    """Token ids wanted of each prompt: the same few for all (text or ids), or a tensor [batch] or [batch, column].

    -1 in a tensor is padding. Raises InputError for anything else; `what` names it in the message.
    """
    if isinstance(tokens, Tensor):
        columns = tokens[:, None] if tokens.ndim == 1 else tokens
        if columns.ndim != 2 or columns.is_floating_point() or columns.shape[0] != n_prompts:
            raise InputError(f"a tensor of {what}s must be integers [batch] or [batch, n] for {n_prompts} prompts")
        if int(columns.max()) >= int(model.cfg.d_vocab) or int(columns.min()) < -1:
            raise InputError(f"a {what} is outside of the model's vocabulary, 0 to {int(model.cfg.d_vocab) - 1}")
        return columns.long().cpu()
    items = [tokens] if isinstance(tokens, str | int) else list(tokens)
    if not items:
        raise InputError(f"the list of {what}s is empty; name at least one token")
    return torch.tensor([[token_id(model, item) for item in items]]).expand(n_prompts, -1)


def token_names(model: Any, columns: Int[Tensor, "batch column"]) -> tuple[str, ...]:
    """What to call the columns: the tokens' texts where all prompts have the same, else "target 0", "target 1", ..."""
    same_for_all = bool((columns == columns[:1]).all())
    if not same_for_all or bool((columns < 0).any()):
        return tuple(f"target {i}" for i in range(columns.shape[1]))
    names = to_strings(model, columns[0])
    # A label has to name one column only.
    return tuple(
        name if names.count(name) == 1 else f"{name} ({token})" for name, token in zip(names, columns[0].tolist())
    )


def position_names(model: Any, prompts: PromptTokens, index: Int[Tensor, "batch chosen"]) -> tuple[str, ...]:
    """Labels of chosen positions: "3: store" where there is one prompt, else their numbers, negative from the end."""
    if len(prompts) == 1:
        strings = to_strings(model, prompts.as_subclass(Tensor)[0].cpu())
        return tuple(f"{i}: {strings[i].strip()}".rstrip() for i in index[0].tolist())
    if bool((index == index[:1]).all()):
        return tuple(str(i) for i in index[0].tolist())
    return tuple(f"chosen {i}" for i in range(index.shape[1]))
