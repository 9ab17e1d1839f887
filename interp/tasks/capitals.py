"""Capitals and countries: "The capital of France is" -> " Paris", and the way back.

A factual-recall task (circuits for it: AutoCircuit's capital cities, Miller et al. 2024; the recall itself: Meng et al.
2022, Geva et al. 2023). The list is ours: countries with one undisputed capital, named without an article, whose names
and capitals do not contain each other, so that nothing can be copied.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from interp.errors import unknown
from interp.tasks.pairs import PromptPairs
from interp.tasks.template_pairs import Drawn, check_n, fill, from_templates, in_turn, need
from interp.tasks.wording import Wording, wording

CAPITALS = {
    "Afghanistan": "Kabul", "Albania": "Tirana", "Angola": "Luanda", "Argentina": "Buenos Aires", "Armenia": "Yerevan",
    "Australia": "Canberra", "Austria": "Vienna", "Azerbaijan": "Baku", "Bangladesh": "Dhaka", "Belarus": "Minsk",
    "Belgium": "Brussels", "Bosnia and Herzegovina": "Sarajevo", "Botswana": "Gaborone", "Bulgaria": "Sofia",
    "Cambodia": "Phnom Penh", "Cameroon": "Yaoundé", "Canada": "Ottawa", "Chile": "Santiago", "China": "Beijing",
    "Colombia": "Bogotá", "Costa Rica": "San José", "Croatia": "Zagreb", "Cuba": "Havana", "Cyprus": "Nicosia",
    "Denmark": "Copenhagen", "Ecuador": "Quito", "Egypt": "Cairo", "Eritrea": "Asmara", "Estonia": "Tallinn",
    "Ethiopia": "Addis Ababa", "Finland": "Helsinki", "France": "Paris", "Germany": "Berlin", "Ghana": "Accra",
    "Greece": "Athens", "Haiti": "Port-au-Prince", "Hungary": "Budapest", "Iceland": "Reykjavik", "India": "New Delhi",
    "Indonesia": "Jakarta", "Iran": "Tehran", "Iraq": "Baghdad", "Ireland": "Dublin", "Italy": "Rome",
    "Jamaica": "Kingston", "Japan": "Tokyo", "Jordan": "Amman", "Kenya": "Nairobi", "Laos": "Vientiane",
    "Latvia": "Riga", "Lebanon": "Beirut", "Libya": "Tripoli", "Lithuania": "Vilnius", "Madagascar": "Antananarivo",
    "Malta": "Valletta", "Mongolia": "Ulaanbaatar", "Morocco": "Rabat", "Mozambique": "Maputo", "Nepal": "Kathmandu",
    "New Zealand": "Wellington", "Nicaragua": "Managua", "Nigeria": "Abuja", "North Korea": "Pyongyang",
    "Norway": "Oslo", "Oman": "Muscat", "Pakistan": "Islamabad", "Peru": "Lima", "Poland": "Warsaw",
    "Portugal": "Lisbon", "Qatar": "Doha", "Romania": "Bucharest", "Russia": "Moscow", "Rwanda": "Kigali",
    "Saudi Arabia": "Riyadh", "Senegal": "Dakar", "Serbia": "Belgrade", "Slovakia": "Bratislava",
    "Slovenia": "Ljubljana", "Somalia": "Mogadishu", "South Korea": "Seoul", "Spain": "Madrid", "Sudan": "Khartoum",
    "Sweden": "Stockholm", "Syria": "Damascus", "Thailand": "Bangkok", "Turkey": "Ankara", "Uganda": "Kampala",
    "Ukraine": "Kyiv", "Uruguay": "Montevideo", "Uzbekistan": "Tashkent", "Venezuela": "Caracas", "Vietnam": "Hanoi",
    "Zambia": "Lusaka", "Zimbabwe": "Harare",
}  # fmt: skip
# By what is asked for; [subject] is what is given.
TEMPLATES = {
    "capital": (
        "The [relation] of [subject] is",
        "The [relation] of [subject] is the city of",
        "The [relation] city of [subject] is called",
    ),
    "country": (
        "The city of [subject] is the [relation] of",
        "As everyone knows, [subject] is the [relation] of",
        "A flight to [subject] takes you to the [relation] of",
    ),
}
DIRECTIONS = {"both": ("capital", "country"), "capital": ("capital",), "country": ("country",)}


def capital_country(
    model: Any, n: int = 100, seed: int = 0, prepend_bos: bool = False, *, direction: str = "both"
) -> PromptPairs:
    """Capitals: the answer belongs to the clean subject, the distractor to the corrupt one.

    direction:
        "capital"  The capital of France is              -> " Paris"
        "country"  The city of Paris is the capital of   -> " France"
        "both"     the two in turn
    The corrupt prompt names another country (or capital) of as many tokens, so lengths are equal within a pair; between
    pairs they differ. Answers are single tokens, so that " New", which begins many names, is never one; subjects may be
    longer. Roles: "subject", the last token of the country or capital given; "relation", the word "capital"; "end".

    n: pairs, spread evenly over directions and templates; subjects come in turn, so n beyond their number repeats them
    in other wording. `groups` are "capital-0", "country-2" (what is asked for, template index). `settings` has the
    countries used, `notes` how many are not. prepend_bos: off, stored with the task. Raises InputError when fewer than
    two countries of one length have single-token answers.
    """
    check_n(n)
    if direction not in DIRECTIONS:
        raise unknown("direction", direction, DIRECTIONS)
    words = wording(model, prepend_bos)
    facts = {asked: _facts(words, asked) for asked in DIRECTIONS[direction]}
    for asked, found in facts.items():
        need(found, 2, CAPITALS, f"countries (asking for the {asked})")
    return from_templates(
        model,
        words,
        list(_draw(n, seed, facts)),
        roles=("subject", "relation"),
        name="capital_country",
        prepend_bos=prepend_bos,
        seed=seed,
        settings={
            "corruption": "other",
            "direction": direction,
            "countries": {asked: list(found) for asked, found in facts.items()},
        },
        notes=[
            f"asking for the {asked}, {len(found)} of {len(CAPITALS)} countries are used: those whose {asked} is a "
            "single token here and whose prompt has the length of another's"
            for asked, found in facts.items()
            if len(found) < len(CAPITALS)
        ],
    )


@dataclass(frozen=True)
class Fact:
    """What a prompt gives, how many tokens that has, and the token asked for."""

    subject: str
    n_tokens: int
    answer: int


def _facts(words: Wording, asked: str) -> dict[str, Fact]:
    """By country, what can be asked: answers of one token, all different, and subjects of a length that is shared."""
    facts: dict[str, Fact] = {}
    for country, capital in CAPITALS.items():
        subject, answer = (country, capital) if asked == "capital" else (capital, country)
        given, token = words.continuation("of", f" {subject}"), words.single_token(answer, after="of")
        if given and token is not None and not words.is_unknown(given):
            facts[country] = Fact(subject, len(given), token)
    lengths = [fact.n_tokens for fact in facts.values()]
    tokens = [fact.answer for fact in facts.values()]
    return {
        country: fact
        for country, fact in facts.items()
        if lengths.count(fact.n_tokens) > 1 and tokens.count(fact.answer) == 1
    }


def _draw(n: int, seed: int, facts: Mapping[str, Mapping[str, Fact]]) -> Iterator[Drawn]:
    """`n` pairs: directions in turn, each template for all of them before the next, countries in turn."""
    generator = torch.Generator().manual_seed(seed)
    index_in_turn = in_turn(range(len(TEMPLATES["capital"])), generator)
    fact_in_turn = {asked: in_turn(list(found.values()), generator) for asked, found in facts.items()}
    for i in range(n):
        asked = tuple(facts)[i % len(facts)]
        if i % len(facts) == 0:
            index = next(index_in_turn)
        fact = next(fact_in_turn[asked])
        same_length = [f for f in facts[asked].values() if f.n_tokens == fact.n_tokens and f is not fact]
        other = same_length[int(torch.randint(len(same_length), (), generator=generator))]
        yield Drawn(
            fill(TEMPLATES[asked][index], {"relation": "capital", "subject": fact.subject}),
            fill(TEMPLATES[asked][index], {"relation": "capital", "subject": other.subject}),
            [fact.answer],
            [other.answer],
            group=f"{asked}-{index}",
        )
