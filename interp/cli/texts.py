"""Texts on the command line: as they stand, in a file, or as token ids; and tokens in tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from interp.errors import InputError
from interp.models.tokens import single_token


def read_text(given: str) -> str:
    """The text itself, or what is in the file when the argument ends in .txt."""
    if not given.endswith(".txt"):
        return given
    try:
        return Path(given).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise InputError(f"cannot read {given}: {reason}") from error


def read_prompt(model: Any, given: str, ids: bool) -> str | Tensor:
    """The prompt: a text (or what is in a .txt file), or token ids [pos] where `ids` says that it is numbers.

    Raises InputError for what is no list of numbers or an empty one, and for a text where the model has no tokenizer.
    """
    text = read_text(given)
    if ids:
        if not text.replace(",", " ").split():
            raise InputError("the prompt has no tokens; give some token ids, as in --ids '0 5 3 5'")
        return torch.tensor([_as_id(item) for item in text.replace(",", " ").split()], dtype=torch.int64)
    check_reads_text(model, "give token ids, as in --ids '0 5 3 5'")
    return text


def check_reads_text(model: Any, instead: str) -> None:
    """Refuse a text where the model has no tokenizer. instead: what a person can give or use."""
    if model.tokenizer is None:
        raise InputError(f"{model.cfg.model_name} has no tokenizer, so it reads no text; {instead}")


def read_token(given: str | None, ids: bool) -> str | int | None:
    """One token, as its text or its id; None where nothing was given."""
    if not given:
        return None
    return _as_id(given) if ids else given


def _as_id(item: str) -> int:
    if not item.isdigit():
        raise InputError(f"with --ids a prompt and its tokens are numbers, as in '0 5 3 5', and {item!r} is none")
    return int(item)


def missing_space(model: Any, prompt: object, token: str | int | None) -> str | None:
    """A note where a token without its space was asked for, after a prompt that a new word follows.

    "Paris" and " Paris" are both single tokens in many vocabularies, and the model predicts the second.
    """
    if not isinstance(token, str) or not isinstance(prompt, str) or not token[:1].isalnum() or prompt[-1:].isspace():
        return None
    bare, spaced = single_token(model, token), single_token(model, f" {token}")
    if bare is None or spaced is None or bare == spaced:
        return None
    return f"note: {token!r} without a space continues a word; {f' {token}'!r} is a single token too, and begins one"


def quoted(token: str) -> str:
    """A token with its spaces visible."""
    return repr(token)
