"""Text as a task needs it: token ids without surprises, and what a word becomes after a given prompt.

A word's tokens depend on what stands before it (" Mary" is one token, "Mary" may be three), so answers and names are
always tokenised in place, and BOS is added here, explicitly, or not at all.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from interp.errors import InputError
from interp.models.tokens import bos_token, tokenizer_of


@dataclass(frozen=True, eq=False)
class Wording:
    """A model's tokenizer, with the choice about BOS made.

    bos: the ids put before every prompt ([] or [BOS]). pad_id: what fills rows; it is never read. n_ctx: the longest
    prompt the model takes, None where it states none.
    """

    tokenizer: Any
    bos: list[int]
    pad_id: int
    n_ctx: int | None

    def ids(self, text: str) -> list[int]:
        """Token ids of a text: nothing added, nothing cut."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def prompt(self, text: str) -> list[int]:
        """Token ids of a prompt, BOS included where it was asked for; refuses empty and too long ones."""
        ids = self.bos + self.ids(text)
        if not ids:
            raise InputError("a prompt is empty")
        if self.n_ctx is not None and len(ids) > self.n_ctx:
            raise InputError(f"a prompt has {len(ids)} tokens and the model takes {self.n_ctx}; shorten it")
        return ids

    def continuation(self, prompt: str, text: str) -> list[int] | None:
        """The ids that `text` adds to `prompt`; None where the two merge into other tokens than the prompt's own."""
        before, both = self.ids(prompt), self.ids(prompt + text)
        return both[len(before) :] if both[: len(before)] == before else None

    def single_token(self, word: str, after: str) -> int | None:
        """The one known token that " word" is after the text `after`, or None."""
        ids = self.continuation(after, f" {word}")
        return None if ids is None or len(ids) != 1 or self.is_unknown(ids) else ids[0]

    def begins_word(self, token: int) -> bool:
        """Whether a token brings its own space; never, for tokenizers whose tokens are bare words."""
        return str(self.tokenizer.convert_ids_to_tokens(token)).startswith(("Ġ", "▁"))

    def is_unknown(self, ids: list[int]) -> bool:
        """Whether a text holds words that the vocabulary lacks."""
        return getattr(self.tokenizer, "unk_token_id", None) in ids

    def locate(self, text: str, place: object, what: str) -> int:
        """The token index, BOS not counted, of a place in a prompt.

        place: a text that occurs once, or [text, occurrence] counted from 1, for the token that holds its last
        character; or an integer index, negative from the end. `what` names it in errors.
        """
        ids = self.ids(text)
        if isinstance(place, int) and not isinstance(place, bool):
            if not -len(ids) <= place < len(ids):
                raise InputError(f"{what} is token {place} of a prompt with {len(ids)} tokens, counted from 0")
            return place % len(ids)
        wanted, occurrence = place if isinstance(place, list) and len(place) == 2 else (place, None)
        if not isinstance(wanted, str) or not wanted or not isinstance(occurrence, int | None):
            raise InputError(f"{what} must be a text, [text, occurrence], or a token index, not {_json(place)}")
        starts = [start for start in range(len(text)) if text.startswith(wanted, start)]
        if occurrence is None and len(starts) > 1:
            first = f"{_json([wanted, 1])} for the first"
            raise InputError(f"{what}: {_json(wanted)} occurs {len(starts)} times; say which, as {first}")
        if not 1 <= (occurrence or 1) <= len(starts):
            which = "" if occurrence is None else f", and {_json(place)} asks for number {occurrence}, counted from 1"
            raise InputError(f"{what}: {_json(wanted)} occurs {len(starts)} times in {_json(text)}{which}")
        before = self.ids(text[: starts[(occurrence or 1) - 1] + len(wanted)])
        # Where the text is cut inside a token, the token is the first that differs.
        return next((i for i, (a, b) in enumerate(zip(before, ids)) if a != b), len(before) - 1)


def _json(given: object) -> str:
    """As a user writes it in a file."""
    return json.dumps(given, ensure_ascii=False, default=repr)


def wording(model: Any, prepend_bos: bool) -> Wording:
    """How this model reads text. Raises InputError for a model without a tokenizer, or without the BOS asked for."""
    tokenizer = tokenizer_of(model)
    pad_id = next((i for i in (tokenizer.pad_token_id, tokenizer.eos_token_id) if i is not None), 0)
    bos = [bos_token(model)] if prepend_bos else []
    return Wording(tokenizer, bos, pad_id, getattr(model.cfg, "n_ctx", None))


def ordinary_tokens(model: Any) -> Int[Tensor, " token"]:
    """The ids a random prompt may hold: the vocabulary without special tokens and without rows no token uses."""
    n_vocab = int(model.cfg.d_vocab)
    tokenizer = getattr(model, "tokenizer", None)
    if tokenizer is None:
        return torch.arange(n_vocab)
    special = set(tokenizer.all_special_ids)
    special |= {i for i, token in getattr(tokenizer, "added_tokens_decoder", {}).items() if token.special}
    return torch.tensor([i for i in range(min(n_vocab, len(tokenizer))) if i not in special])
