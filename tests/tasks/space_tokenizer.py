"""A byte-level tokenizer as GPT-2's, whose merges are chosen by hand: " word" is one token for the words asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tests.tasks.conftest import OPTIONS, SPECIAL, tiny_model

SPACE = "Ġ"


def merges_of(word: str) -> list[tuple[str, str]]:
    """The merges, letter by letter from the left, that make one token of a word and the space before it."""
    return [(SPACE + word[:i], word[i]) for i in range(len(word))]


def space_tokenizer(words: Iterable[str], more: Sequence[tuple[str, str]] = ()) -> PreTrainedTokenizerFast:
    """Every other text is read byte by byte; `more` are merges of lower rank."""
    merges = list(dict.fromkeys([*(merge for word in words for merge in merges_of(word)), *more]))
    symbols = [*SPECIAL.values(), *sorted(pre_tokenizers.ByteLevel.alphabet()), *("".join(merge) for merge in merges)]
    tokenizer = Tokenizer(models.BPE({s: i for i, s in enumerate(dict.fromkeys(symbols))}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL, **OPTIONS)


def space_model(words: Iterable[str], more: Sequence[tuple[str, str]] = (), n_ctx: int = 512) -> Any:
    return tiny_model(space_tokenizer(words, more), n_ctx=n_ctx)
