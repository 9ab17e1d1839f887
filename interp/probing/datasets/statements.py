"""Truth of simple statements, as in Azaria & Mitchell 2023 and Marks & Tegmark 2023, "The Geometry of Truth".

Capitals ("The capital of France is Rome."), their negations, and comparisons of numbers. Half of each kind are true.
The statements are ours; a country is one group with all that is said of it, true and false.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch

from interp.probing.datasets.placing import Text, Word, placed
from interp.probing.labelled import LabelledTokens
from interp.tasks.capitals import CAPITALS

FORMS = (
    "The capital of {country} is {city}.",
    "{city} is the capital of {country}.",
    "The city of {city} lies in {country}.",
)
NEGATED = (
    "The capital of {country} is not {city}.",
    "{city} is not the capital of {country}.",
    "The city of {city} does not lie in {country}.",
)
TENS = {20: "Twenty", 30: "Thirty", 40: "Forty", 50: "Fifty", 60: "Sixty", 70: "Seventy", 80: "Eighty", 90: "Ninety"}
UNITS = ("", "-one", "-two", "-three", "-four", "-five", "-six", "-seven", "-eight", "-nine")
TRUE, FALSE = "true", "false"


def statement_truth(model: Any, n: int = 2000, seed: int = 0, prepend_bos: bool = False) -> LabelledTokens:
    """About `n` statements labelled "true" or "false", at their final full stop (position "end").

    Groups: the country, or the first number; types (for the control task): the city, or the second number. Two of three
    statements are about capitals, half of those negated.
    """
    generator = torch.Generator().manual_seed(seed)
    statements = _capitals(generator, -(-2 * n // 3)) + _comparisons(generator, n - 2 * n // 3)
    texts = [
        Text(text, group, [Word({"end": (len(text) - 1, len(text))}, TRUE if true else FALSE, kind)])
        for text, true, group, kind in statements[: max(n, 2)]
    ]
    return placed(
        model,
        texts,
        name="truth",
        group_is="subject",
        seed=seed,
        prepend_bos=prepend_bos,
        settings={"licence": "statements of the house, MIT"},
        notes=["types are the city or number that a statement names, since all examples end in the same token"],
    )


def _capitals(generator: torch.Generator, n: int) -> list[tuple[str, bool, str, str]]:
    """(text, true, country, city), as many true as false: every country with its city and with another's."""
    countries, cities = list(CAPITALS), list(CAPITALS.values())
    found = []
    forms = list(itertools.chain.from_iterable(zip(FORMS, NEGATED)))
    for form in forms:
        shift = int(torch.randint(1, len(cities), (1,), generator=generator))
        for i, country in enumerate(countries):
            for city, right in ((cities[i], True), (cities[(i + shift) % len(cities)], False)):
                text = form.format(country=country, city=city)
                found.append((text, right != (form in NEGATED), country, city))
    order = torch.randperm(len(found), generator=generator)[:n].tolist()
    return [found[i] for i in order]


def _comparisons(generator: torch.Generator, n: int) -> list[tuple[str, bool, str, str]]:
    """(text, true, first number, second number)."""
    names = {ten + unit: TENS[ten] + UNITS[unit] for ten in TENS for unit in range(10)}
    pairs = [(a, b, word) for a in names for b in names if a != b for word in ("larger", "smaller")]
    order = torch.randperm(len(pairs), generator=generator)[:n].tolist()
    found = []
    for a, b, word in (pairs[i] for i in order):
        text = f"{names[a]} is {word} than {names[b].lower()}."
        found.append((text, (a > b) == (word == "larger"), names[a], names[b]))
    return found
