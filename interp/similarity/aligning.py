"""Which tokens of two tokenisations stand for the same place in a text.

With one tokenizer, tokens are the same. With two, they are paired where both have read exactly the same characters
("character": a token of each ends at the same character), at the ends of words ("word": the token that completes it),
or a text is one point ("document": the mean over its tokens). A causal model's state at a token is a state after all
that was read, so ends and not beginnings are what corresponds.
"""

from __future__ import annotations

import re
from typing import Any, Literal, get_args

from interp.errors import InputError, unknown
from interp.models.tokens import bos_token, tokenizer_of

Align = Literal["auto", "token", "character", "word", "document"]
Spans = list[tuple[int, int]]


def check_align(align: str) -> None:
    """Refuse a way of aligning that is not there."""
    if align not in get_args(Align):
        raise unknown("way to align", align, get_args(Align))


def tokens_and_spans(model: Any, text: str, prepend_bos: bool) -> tuple[list[int], Spans]:
    """Token ids of a text and the characters [start, end) of each; BOS covers none.

    Raises InputError for a tokenizer that does not know where its tokens lie (a "slow" one), or that has none of BOS.
    """
    tokenizer = tokenizer_of(model)
    if not tokenizer.is_fast:
        raise InputError(
            f"the tokenizer of {model.cfg.model_name} does not say which characters its tokens cover; use "
            'align="document", or a fast tokenizer'
        )
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids, spans = list(encoded["input_ids"]), [(int(a), int(b)) for a, b in encoded["offset_mapping"]]
    return ([bos_token(model), *ids], [(0, 0), *spans]) if prepend_bos else (ids, spans)


def ends_of(spans: Spans) -> dict[int, int]:
    """Which token ends at a character. Of several that share it (bytes of one character), the last has read it all."""
    return {end: i for i, (start, end) in enumerate(spans) if end > start}


def word_ends(text: str, spans: Spans) -> dict[int, int]:
    """Which token completes each word (a run without blanks), by the character where the word ends.

    Words whose last token reaches into the next word are left out: it has read more than the word.
    """
    ends = sorted(ends_of(spans).items())
    found, at = {}, 0
    for word in re.finditer(r"\S+", text):
        while at < len(ends) and ends[at][0] < word.end():
            at += 1
        if at == len(ends):
            break
        end, token = ends[at]
        if not text[word.end() : end].strip():
            found[word.end()] = token
    return found


def paired(text: str, first: Spans, second: Spans, align: str) -> tuple[list[int], list[int]]:
    """Tokens of two tokenisations of a text that correspond, as two lists of equal length in reading order."""
    ends = (word_ends(text, first), word_ends(text, second)) if align == "word" else (ends_of(first), ends_of(second))
    common = sorted(ends[0].keys() & ends[1].keys())
    return [ends[0][end] for end in common], [ends[1][end] for end in common]
