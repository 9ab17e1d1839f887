"""Clean and corrupt prompts from one template with named slots: filled, tokenised, and checked to line up.

What the tasks of fixed wording have in common: which candidates are one token here, drawing them evenly, finding the
token of every slot, and refusing a tokenizer that would move anything else than the slots that were changed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from interp.errors import InputError
from interp.hooks.partial import embedding_device
from interp.tasks.pairs import PromptPairs
from interp.tasks.token_tensors import from_tokens
from interp.tasks.wording import Wording

T = TypeVar("T")


@dataclass(frozen=True)
class Filled:
    """A template with its slots filled: the text, and from which to which character each slot goes."""

    text: str
    spans: dict[str, tuple[int, int]]


def fill(template: str, slots: dict[str, str]) -> Filled:
    """Replace every "[slot]" of a template. A slot stands once; the text around it has no square brackets."""
    text, spans = "", {}
    for i, part in enumerate(re.split(r"\[([^\]]+)\]", template)):
        added = slots[part] if i % 2 else part  # texts and slots alternate
        if i % 2:
            spans[part] = (len(text), len(text) + len(added))
        text += added
    return Filled(text, spans)


@dataclass(frozen=True)
class Drawn:
    """One pair before it is tokenised; answers and distractors are token ids."""

    clean: Filled
    corrupt: Filled
    answers: Sequence[int]
    distractors: Sequence[int]
    group: str


def from_templates(
    model: Any,
    words: Wording,
    drawn: Sequence[Drawn],
    roles: Sequence[str],
    *,
    name: str,
    prepend_bos: bool,
    seed: int,
    settings: dict[str, Any],
    notes: Sequence[str] = (),
) -> PromptPairs:
    """The drawn pairs as a task. roles: the slots that become positions, each at the last token of its slot.

    Raises InputError where clean and corrupt are not of one length, or differ outside of the slots that differ.
    """
    tokenised = [_line_up(words, pair) for pair in drawn]
    task = from_tokens(
        [words.bos + clean for clean, _, _ in tokenised],
        [words.bos + corrupt for _, corrupt, _ in tokenised],
        [list(pair.answers) for pair in drawn],
        [list(pair.distractors) for pair in drawn],
        positions={role: [len(words.bos) + last[role] for _, _, last in tokenised] for role in roles},
        groups=[pair.group for pair in drawn],
        pad_id=words.pad_id,
        prepend_bos=prepend_bos,
        name=name,
        n_vocab=int(model.cfg.d_vocab),
        seed=seed,
        settings=settings,
        notes=notes,
        tokenizer=words.tokenizer,
    )
    return task.to(embedding_device(model))


def one_token_words(words: Wording, candidates: Sequence[str], after: str) -> dict[str, int]:
    """The candidates that are one token after the text `after`, in their order, no token twice."""
    ids: dict[str, int] = {}
    for word in candidates:
        token = words.single_token(word, after)
        if token is not None and token not in ids.values():
            ids[word] = token
    return ids


def need(found: Collection[Any], n_needed: int, candidates: Collection[Any], what: str) -> None:
    """Raise InputError when fewer than `n_needed` of the candidates can be used; `what` names them in the plural."""
    if len(found) < n_needed:
        raise InputError(
            f"only {len(found)} of {len(candidates)} {what} can be used with this tokenizer and this task needs "
            f"{n_needed}; write your own pairs with interp.tasks.from_jsonl"
        )


def left_out(found: Collection[str], candidates: Collection[str], what: str) -> tuple[str, ...]:
    """A note about the candidates that are not used, if any."""
    dropped = [word for word in candidates if word not in found]
    if not dropped:
        return ()
    shown = ", ".join(dropped[:8]) + (", ..." if len(dropped) > 8 else "")
    return (f"left out, being no single token here: {len(dropped)} of {len(candidates)} {what} ({shown})",)


def in_turn(options: Sequence[T], generator: torch.Generator) -> Iterator[T]:
    """The options in shuffled order, shuffled anew for every round: endless, and as even as can be."""
    while True:
        for i in torch.randperm(len(options), generator=generator).tolist():
            yield options[i]


def check_n(n: int) -> None:
    """Raise InputError for a task without pairs."""
    if n < 1:
        raise InputError(f"a task needs at least one pair; n={n}")


def _line_up(words: Wording, pair: Drawn) -> tuple[list[int], list[int], dict[str, int]]:
    """Clean and corrupt ids (no BOS) and the last token of every slot; refuses a pair that does not line up."""
    sides = [words.prompt(side.text)[len(words.bos) :] for side in (pair.clean, pair.corrupt)]
    clean, corrupt = ({slot: _tokens(words, side, ids, slot) for slot in side.spans}
                      for side, ids in zip((pair.clean, pair.corrupt), sides))  # fmt: skip
    changed = {i for slot, span in clean.items() if _text(pair.clean, slot) != _text(pair.corrupt, slot) for i in span}
    differ = {i for i, (a, b) in enumerate(zip(*sides)) if a != b}
    if len(sides[0]) != len(sides[1]) or clean != corrupt or not differ <= changed:
        raise InputError(
            f"this tokenizer does not keep what differs between {pair.clean.text!r} and {pair.corrupt.text!r} apart "
            "from the words around it; write your own pairs with interp.tasks.from_jsonl"
        )
    return sides[0], sides[1], {slot: span[-1] for slot, span in clean.items()}


def _tokens(words: Wording, filled: Filled, ids: list[int], slot: str) -> range:
    """The tokens that hold a slot, with the space before it where that is a token of its own."""
    start, end = filled.spans[slot]
    before, until = words.ids(filled.text[:start].rstrip()), words.ids(filled.text[:end])
    # Where the text is cut inside a token, that token is the first that differs.
    return range(_n_common(before, ids), min(_n_common(until, ids), len(until) - 1) + 1)


def _n_common(a: list[int], b: list[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))


def _text(filled: Filled, slot: str) -> str:
    start, end = filled.spans[slot]
    return filled.text[start:end]
