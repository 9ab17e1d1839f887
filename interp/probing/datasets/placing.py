"""Labelled words in texts as labelled tokens: the last token of a word stands for it."""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from interp.errors import InputError
from interp.hooks.partial import embedding_device
from interp.hooks.prompts import prompt_tokens
from interp.models.tokens import bos_token, tokenizer_of
from interp.probing.labelled import LabelledTokens, labelled_tokens
from interp.tasks.token_tensors import pad_right

Span = tuple[int, int]


@dataclass(frozen=True)
class Word:
    """A labelled word: where in the text, by the name of the position, its class, and its word type."""

    spans: Mapping[str, Span]
    label: str
    type: str


@dataclass(frozen=True)
class Text:
    """A text with its labelled words; `group` is what must stay together."""

    text: str
    group: str
    words: Sequence[Word]


def span_of(text: str, word: str) -> Span:
    """Where a word stands that occurs once in a text."""
    start = text.index(word)
    return start, start + len(word)


def placed(
    model: Any,
    texts: Sequence[Text],
    *,
    name: str,
    group_is: str,
    seed: int | None,
    prepend_bos: bool,
    settings: Mapping[str, Any],
    notes: Sequence[str] = (),
) -> LabelledTokens:
    """The words of all texts as examples. Words beyond the model's context are left out, and a note says how many.

    Raises InputError for a tokenizer that does not say where its tokens come from, and for texts without words.
    """
    rows, lengths = [], []
    found: dict[str, list[int]] = {}
    words, of_text, cut = [], [], 0
    for i, text in enumerate(texts):
        ids, ends = _encoded(model, text.text, prepend_bos)
        rows.append(ids)
        lengths.append(len(ids))
        for word in text.words:
            at = {role: _token_at(ends, end) + int(prepend_bos) for role, (_, end) in word.spans.items()}
            if max(at.values()) >= len(ids):
                cut += 1
                continue
            for role, position in at.items():
                found.setdefault(role, []).append(position)
            words.append(word)
            of_text.append(i)
    if not words:
        raise InputError(f"the task {name!r} has no labelled words that fit into this model's context")
    tokens = prompt_tokens(pad_right(rows, pad_id=0), lengths=torch.tensor(lengths)).moved_to(embedding_device(model))
    return labelled_tokens(
        tokens,
        [word.label for word in words],
        {role: torch.tensor(at) for role, at in found.items()},
        rows=torch.tensor(of_text),
        groups=[texts[i].group for i in of_text],
        types=[word.type for word in words],
        name=name,
        group_is=group_is,
        settings={**settings, "prepend_bos": prepend_bos},
        notes=[*notes, *([f"{cut} words lie beyond the model's context"] if cut else [])],
        seed=seed,
    )


def _encoded(model: Any, text: str, prepend_bos: bool) -> tuple[list[int], list[int]]:
    """Token ids of a text, cut to the model's context, and where each token of the text ends."""
    tokenizer = tokenizer_of(model)
    if not getattr(tokenizer, "is_fast", False):
        raise InputError("this tokenizer does not say which characters a token covers; load its fast version")
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ends = [end for _, end in encoded["offset_mapping"]]
    ids = [*([bos_token(model)] if prepend_bos else []), *encoded["input_ids"]]
    if not ids:
        raise InputError("a text has no tokens")
    n_ctx = getattr(model.cfg, "n_ctx", None)
    return ids[:n_ctx], ends


def _token_at(ends: Sequence[int], end: int) -> int:
    """The first token that reaches the end of a word."""
    return bisect.bisect_left(ends, end)
