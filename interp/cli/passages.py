"""Long prompts on the command line: English prose, texts of one's own, or random tokens that repeat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from interp.cli.answering import Answer, Maybe
from interp.cli.fitting import fitting_places
from interp.cli.texts import check_reads_text
from interp.errors import InputError
from interp.hooks.prompts import PromptTokens
from interp.tasks.english_texts import english_documents, passage_tokens
from interp.tasks.repetition import repeated_random_tokens

ENGLISH, RANDOM = "english", "random"


@dataclass(frozen=True)
class Places:
    """Which tokens of a long prompt are compared: `window` tokens from `early` on with as many from `late` on."""

    early: int
    late: int
    window: int

    @classmethod
    def chosen(cls, model: Any, early: Maybe[int], late: Maybe[int], window: Maybe[int]) -> Places:
        """What was asked for, and for the rest the usual places or what fits the model's context."""
        usual = fitting_places(model)
        return cls(*(given if given is not None else fits for given, fits in zip((early, late, window), usual)))

    @property
    def n_tokens(self) -> int:
        """How many tokens are read of each prompt."""
        return self.late + self.window


def long_prompts(answer: Answer, text: str, n: int, n_tokens: int, seed: int, bos: bool) -> PromptTokens:
    """`n` prompts of so many tokens (random ones: or one more); says what they are.

    text: "english" (random tokens where the model has no tokenizer), "random", or a .txt file or a folder of them, of
    which each is one text. Raises InputError for texts that are not there or too short.
    """
    model = answer.model
    if n < 1:
        raise InputError(f"n={n} leaves no passage to run; use at least 1")
    if text == RANDOM or (text == ENGLISH and model.tokenizer is None):
        half = -(-(n_tokens - int(bos)) // 2)
        answer.say(f"{n} prompts of {half} random tokens, repeated once")
        return repeated_random_tokens(model, n, half, seed, bos)
    if text == ENGLISH:
        answer.say(f"{n} passages out of presidents' messages, {n_tokens} tokens each")
        return passage_tokens(model, n, n_tokens, seed=seed, prepend_bos=bos)
    check_reads_text(model, f"use --text {RANDOM}")
    found = min(n, sum(1 for _ in english_documents(text)))
    answer.say(f"{found} passages out of {text}, {n_tokens} tokens each")
    return passage_tokens(model, found, n_tokens, seed=seed, prepend_bos=bos, source=text)
