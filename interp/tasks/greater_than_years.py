"""Greater-than: "The war lasted from the year 1732 to the year 17" -> a two-digit number above 32.

Hanna et al. 2023, "How does GPT-2 compute greater-than?: Interpreting mathematical abilities in a pre-trained language
model", section 3; the nouns and the range of years are those published with the paper. The paper needs a tokenizer
that reads " 1732" as " 17", "32"; for those that read digit by digit there is a variant over the next digit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from interp.errors import InputError, unknown
from interp.tasks.pairs import PromptPairs
from interp.tasks.template_pairs import (
    Drawn,
    Filled,
    check_n,
    fill,
    from_templates,
    in_turn,
    left_out,
    need,
    one_token_words,
)
from interp.tasks.wording import Wording, wording

_NOUNS = """
abduction accord affair agreement appraisal assaults assessment attack attempts campaign captivity case challenge chaos
clash collaboration coma competition confrontation consequence conspiracy construction consultation contact contract
convention cooperation custody deal decline decrease demonstrations development disagreement disorder dispute domination
dynasty effect effort employment endeavor engagement epidemic evaluation exchange existence expansion expedition
experiments fall fame flights friendship growth hardship hostility illness impact imprisonment improvement incarceration
increase insurgency invasion investigation journey kingdom marriage modernization negotiation notoriety obstruction
operation order outbreak outcome overhaul patrols pilgrimage plague plan practice process program progress project
pursuit quest raids reforms reign relationship retaliation riot rise rivalry romance rule sanctions shift siege slump
stature stint strikes study test testing tests therapy tour tradition treaty trial trip unemployment voyage warfare work
"""
NOUNS = tuple(_NOUNS.split())
CENTURIES = tuple(range(11, 18))
YEARS = tuple(range(2, 99))  # of the century; 01 is the corrupt prompt's
VARIANTS = ("auto", "two-digit", "next-digit")
N_YEARS_NEEDED = 20  # different YY; a tokenizer that keeps fewer together does not read years as the paper's does

BEFORE = "from the year"
TEMPLATES = {
    "two-digit": "The [noun] lasted from the year [XX1][YY] to the year [XX2]",
    "next-digit": "The [noun] lasted from the year [XX1][tens][units] to the year [XX2]",
}


def greater_than(
    model: Any,
    n: int = 100,
    seed: int = 0,
    prepend_bos: bool = False,
    *,
    variant: str = "auto",
) -> PromptPairs:
    """Greater-than over years: answers above the year YY, distractors not above it, scored by probability_difference.

    variant:
        "two-digit"   the paper's, for tokenizers with one token for YY: answers are the tokens of YY + 1 ... 99,
                      distractors those of 00 ... YY. Roles "noun", "XX1" (the century), "YY", "end".
        "next-digit"  for tokenizers that read digits one by one: the tens digit of the later year is predicted.
                      Answers are the digits with which every year is later (above the tens digit of YY), distractors
                      those with which none is: below it, and the tens digit itself where YY ends in 9. Otherwise that
                      digit is in neither set, since 173_ may or may not be later than 1732. YY is 09 ... 89, so both
                      sets hold something. Roles "noun", "XX1", "tens", "units", "end". The task is then named
                      "greater_than_next_digit"; its numbers are not the paper's.
        "auto"        two-digit where the tokenizer allows it, else next-digit; `settings` and `notes` say which.
    The corrupt prompt has the year 01 of the same century and differs at YY (or tens and units) only.

    n: pairs, spread evenly over the centuries 11 ... 17, which are the `groups` ("17xx"), and over the years of each.
    prepend_bos: off, stored with the task. Raises InputError when the tokenizer reads years in neither way or keeps no
    noun in one token.
    """
    check_n(n)
    words = wording(model, prepend_bos)
    nouns = one_token_words(words, NOUNS, after="The")
    need(nouns, 1, NOUNS, "nouns")
    years = _read_years(words, variant)
    drawn = list(_draw(n, seed, tuple(nouns), years))
    task = from_templates(
        model,
        words,
        drawn,
        roles=("noun", "XX1", "YY") if years.variant == "two-digit" else ("noun", "XX1", "tens", "units"),
        name="greater_than" if years.variant == "two-digit" else "greater_than_next_digit",
        prepend_bos=prepend_bos,
        seed=seed,
        settings={
            "corruption": "01",
            "variant": years.variant,
            "nouns": list(nouns),
            "centuries": sorted(years.usable),
        },
        notes=years.notes + left_out(nouns, NOUNS, "nouns"),
    )
    return task.with_metric("probability_difference")


@dataclass(frozen=True)
class Years:
    """How this tokenizer reads years.

    tokens: number -> token; numbers are 0 ... 99 ("two-digit") or digits ("next-digit"). usable: century -> the YY that
    make a pair with the year 01 of that century.
    """

    variant: str
    tokens: dict[int, int]
    usable: dict[int, tuple[int, ...]]

    def sets(self, yy: int) -> tuple[list[int], list[int]]:
        """The tokens that begin only years later than YY, and those that begin none."""
        width = 1 if self.variant == "two-digit" else 10  # how many years begin with a token
        later = [token for first, token in self.tokens.items() if first * width > yy]
        not_later = [token for first, token in self.tokens.items() if first * width + width - 1 <= yy]
        return later, not_later

    def filled(self, noun: str, century: int, yy: int) -> Filled:
        """The template with its slots filled in."""
        year = {"YY": f"{yy:02d}", "tens": str(yy // 10), "units": str(yy % 10)}
        slots = {"noun": noun, "XX1": str(century), "XX2": str(century), **year}
        return fill(TEMPLATES[self.variant], slots)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the results should know about this variant."""
        if self.variant == "two-digit":
            absent = 100 - len(self.tokens)
            return (f"{absent} two-digit numbers have no token of their own and are in no set",) if absent else ()
        return (
            "this tokenizer reads digits one by one, so this is not the paper's task: the tens digit of the later year "
            "is predicted, and the tens digit of the earlier year counts neither as right nor as wrong unless YY ends "
            "in 9",
        )


def _read_years(words: Wording, variant: str) -> Years:
    """The variant asked for, or for "auto" the first that works; refuses a tokenizer with neither."""
    if variant not in VARIANTS:
        raise unknown("variant", variant, VARIANTS)
    tried = VARIANTS[1:] if variant == "auto" else (variant,)
    for one in tried:
        years = _two_digit(words) if one == "two-digit" else _next_digit(words)
        if len({yy for of_century in years.usable.values() for yy in of_century}) >= N_YEARS_NEEDED:
            return years
    other = " or".join(f" {'as two tokens of two digits' if one == 'two-digit' else 'digit by digit'}" for one in tried)
    hint = "" if variant == "auto" else "; variant='auto' takes what works"
    raise InputError(f"this tokenizer does not read years{other}, as this task needs{hint}")


def _two_digit(words: Wording) -> Years:
    """Years that are the tokens of their century and one more token."""
    found: dict[int, set[int]] = {}
    read: dict[int, set[int]] = {}
    for century in CENTURIES:
        for yy in range(100):
            added = words.continuation(f"{BEFORE} {century}", f"{yy:02d}")
            if added is not None and len(added) == 1 and not words.is_unknown(added):
                found.setdefault(yy, set()).add(added[0])
                read.setdefault(century, set()).add(yy)
    # A number has the token it has in every century that splits there (" 1700" is a single token of GPT-2).
    tokens = {yy: min(ids) for yy, ids in sorted(found.items()) if len(ids) == 1}
    usable = {
        century: tuple(yy for yy in YEARS if yy in numbers and yy in tokens and yy < max(tokens))
        for century, numbers in read.items()
        if 1 in numbers
    }
    return Years("two-digit", tokens, {century: numbers for century, numbers in usable.items() if numbers})


def _next_digit(words: Wording) -> Years:
    """Years that are the tokens of their century and one token a digit."""
    tokens: dict[int, int] = {}
    for digit in range(10):
        added = words.continuation(f"{BEFORE} {CENTURIES[0]}", str(digit))
        if added is not None and len(added) == 1 and not words.is_unknown(added):
            tokens[digit] = added[0]
    if len(set(tokens.values())) < 10:
        return Years("next-digit", {}, {})

    def splits(century: int, yy: int) -> bool:
        return words.continuation(f"{BEFORE} {century}", f"{yy:02d}") == [tokens[yy // 10], tokens[yy % 10]]

    both_sets = range(9, 90)
    usable = {
        century: tuple(yy for yy in both_sets if splits(century, yy)) for century in CENTURIES if splits(century, 1)
    }
    return Years("next-digit", tokens, {century: numbers for century, numbers in usable.items() if numbers})


def _draw(n: int, seed: int, nouns: tuple[str, ...], years: Years) -> Iterator[Drawn]:
    """`n` pairs: centuries in turn, the years of each in turn, nouns in turn."""
    generator = torch.Generator().manual_seed(seed)
    centuries, noun_in_turn = in_turn(sorted(years.usable), generator), in_turn(nouns, generator)
    year_in_turn = {century: in_turn(numbers, generator) for century, numbers in sorted(years.usable.items())}
    for _ in range(n):
        century, noun = next(centuries), next(noun_in_turn)
        yy = next(year_in_turn[century])
        later, not_later = years.sets(yy)
        yield Drawn(
            years.filled(noun, century, yy), years.filled(noun, century, 1), later, not_later, group=f"{century}xx"
        )
