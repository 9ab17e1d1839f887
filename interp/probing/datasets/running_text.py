"""Tasks whose labels follow from the tokens alone: where a token stands, and what kind of token comes next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from interp.errors import InputError
from interp.hooks.prompts import PromptTokens, prompt_tokens
from interp.models.tokens import to_strings, tokenizer_of
from interp.probing.labelled import LabelledTokens, labelled_tokens
from interp.tasks.english_texts import LICENCE, passage_tokens
from interp.tasks.wording import ordinary_tokens

LENGTH = 128
N_BINS = 8
EARLIEST = 4
"""First position that is used: before it, too many prompts begin alike."""


def token_positions(
    model: Any, n: int = 2000, seed: int = 0, prepend_bos: bool = False, *, source: str | Path | None = None
) -> LabelledTokens:
    """`n` tokens of English prose (of random tokens, for models without tokenizer), labelled by where they stand.

    Eight classes of equal width, such as "tokens 32 to 47". Groups are documents, types tokens.
    """
    tokens, notes = _running(model, n, seed, prepend_bos, source)
    rows, at = _places(tokens, n, seed, last=tokens.shape[1] - 1)
    width = tokens.shape[1] / N_BINS
    digits = len(str(tokens.shape[1]))
    names = [f"tokens {round(i * width):0{digits}d} to {round((i + 1) * width) - 1:0{digits}d}" for i in range(N_BINS)]
    labels = [names[min(N_BINS - 1, int(position / width))] for position in at.tolist()]
    return _labelled("position", tokens, rows, at, labels, seed, prepend_bos, source, notes)


def next_tokens(
    model: Any, n: int = 2000, seed: int = 0, prepend_bos: bool = False, *, source: str | Path | None = None
) -> LabelledTokens:
    """`n` tokens of English prose, labelled by what kind of token follows.

    Classes: "word" (begins a word in lower case), "capitalised word", "continuation" (of the same word), "number",
    "punctuation", "line break"; those with fewer than 20 in 1000 are left out. Groups are documents, types tokens.
    """
    tokenizer_of(model)
    tokens, notes = _running(model, n, seed, prepend_bos, source)
    rows, at = _places(tokens, n, seed, last=tokens.shape[1] - 2)
    following = tokens.as_subclass(Tensor).cpu()[rows, at + 1]
    labels = [kind_of(text) for text in to_strings(model, following)]
    data = _labelled("next_token", tokens, rows, at, labels, seed, prepend_bos, source, notes)
    return data.only([name for name, count in data.counts().items() if count >= 0.02 * len(data)])


def kind_of(text: str) -> str:
    """What kind of token a text is; see `next_tokens`."""
    bare = text.strip()
    if not bare:
        return "line break"
    if bare[0].isdigit():
        return "number"
    if not bare[0].isalpha():
        return "punctuation"
    if not text[0].isspace():
        return "continuation"
    return "capitalised word" if bare[0].isupper() else "word"


def _running(
    model: Any, n: int, seed: int, prepend_bos: bool, source: str | Path | None
) -> tuple[PromptTokens, list[str]]:
    """Prompts of equal length, as many as keep examples of one prompt few."""
    length = min(LENGTH, getattr(model.cfg, "n_ctx", None) or LENGTH)
    if length < 2 * N_BINS:
        raise InputError(f"this model takes {length} tokens; these tasks need at least {2 * N_BINS}")
    n_prompts = max(8, min(200, -(-n // 12)))
    if model.tokenizer is not None:
        return passage_tokens(model, n_prompts, length, seed=seed, prepend_bos=prepend_bos, source=source), []
    known = ordinary_tokens(model)
    drawn = torch.randint(len(known), (n_prompts, length), generator=torch.Generator().manual_seed(seed))
    return prompt_tokens(known[drawn]), ["random tokens, since the model has no tokenizer"]


def _places(tokens: PromptTokens, n: int, seed: int, last: int) -> tuple[Tensor, Tensor]:
    """`n` different tokens as (prompt, position), at random."""
    n_places = last - EARLIEST + 1
    drawn = torch.randperm(len(tokens) * n_places, generator=torch.Generator().manual_seed(seed))[:n].sort().values
    return drawn // n_places, drawn % n_places + EARLIEST


def _labelled(
    name: str,
    tokens: PromptTokens,
    rows: Tensor,
    at: Tensor,
    labels: list[str],
    seed: int,
    prepend_bos: bool,
    source: str | Path | None,
    notes: list[str],
) -> LabelledTokens:
    where = {"source": "presidents' messages", "licence": LICENCE} if source is None else {"source": str(source)}
    return labelled_tokens(
        tokens,
        labels,
        at,
        rows=rows,
        groups=[f"document {row}" for row in rows.tolist()],
        name=name,
        group_is="document",
        settings={} if notes else {**where, "prepend_bos": prepend_bos},
        notes=notes,
        seed=seed,
    )
