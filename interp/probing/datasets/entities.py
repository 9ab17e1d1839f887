"""Type of a named entity: person, place or organisation, in sentences that fit all three.

The lists are ours, of common knowledge; names that could be two things ("Jordan", "Washington") are left out, and
entities with the same last word are one group, so that a probe is tested on words it has not seen.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch

from interp.probing.datasets.placing import Text, Word, placed, span_of
from interp.probing.labelled import LabelledTokens
from interp.tasks.capitals import CAPITALS
from interp.tasks.names import IOI_NAMES, MORE_NAMES

SURNAMES = """
Smith Johnson Williams Brown Davis Miller Wilson Moore Taylor Anderson Harris Thompson Garcia Martinez
Robinson Clark Rodriguez Lopez Hill Scott Green Adams Baker Nelson Carter Mitchell Perez Roberts Turner
Phillips Campbell Parker Evans Edwards Collins Stewart Sanchez Morris Rogers Reed Cook Morgan Bell Murphy
Bailey Cooper Richardson Cox Howard Ward
"""
ORGANISATIONS = """
Microsoft|Google|Toyota|Samsung|Siemens|Volkswagen|Boeing|Airbus|Intel|IBM|Sony|Nokia|Honda|Nestle|Pfizer|
Walmart|Netflix|Facebook|Twitter|Adobe|Oracle|Cisco|Panasonic|Toshiba|Philips|Bosch|Renault|Peugeot|Fiat|
Nissan|Mazda|Hyundai|Chevron|Exxon Mobil|General Electric|General Motors|Goldman Sachs|Morgan Stanley|
Deutsche Bank|Barclays|Credit Suisse|the World Bank|the United Nations|the European Union|the Red Cross|
Greenpeace|Amnesty International|UNICEF|NATO|NASA|Interpol|the Supreme Court|the Labour Party|
the Republican Party|Harvard University|Stanford University|Yale University|Princeton University|
Oxford University|Cambridge University|the Royal Society|the Salvation Army|the New York Times|
the Washington Post|the Guardian|Reuters|CNN|the BBC|Disney|Pixar|Universal Studios|Paramount Pictures|
Manchester United|Real Madrid|the Chicago Bulls|the Boston Celtics|Starbucks|Burger King|Pepsi|Heineken|
Adidas|Nike|Gucci|Spotify|Airbnb|PayPal|eBay|Lufthansa|Air France|Delta Airlines
""".replace("\n", "").split("|")
TEMPLATES = (
    "Last year I read a long article about {}",
    "Most people here have strong opinions about {}",
    "The journalist wrote three pages on {}",
    "Everything that we heard yesterday concerned {}",
    "She asked me what I really thought of {}",
    "There was a short film about {}",
    "In the last chapter the author returns to {}",
    "Nobody had expected to hear so much about {}",
)
PERSON, PLACE, ORGANISATION = "person", "place", "organisation"


def entity_types(model: Any, n: int = 2000, seed: int = 0, prepend_bos: bool = False) -> LabelledTokens:
    """About `n` sentences that end in an entity, labelled "person", "place" or "organisation", as many of each.

    At the last token of the entity. Groups and types are the last words of entities. Classes are equally frequent as
    far as n allows.
    """
    generator = torch.Generator().manual_seed(seed)
    by_class = {}
    for label, names in entities(seed).items():
        pairs = list(itertools.product(names, TEMPLATES))
        order = torch.randperm(len(pairs), generator=generator)[: -(-n // 3)].tolist()
        by_class[label] = [pairs[i] for i in order]
    texts = [
        Text(text, name.split()[-1], [Word({"entity": span_of(text, name)}, label, name.split()[-1])])
        for label, pairs in by_class.items()
        for name, template in pairs
        for text in [template.format(name)]
    ][: max(n, 3)]
    return placed(
        model,
        texts,
        name="entity_type",
        group_is="last word",
        seed=seed,
        prepend_bos=prepend_bos,
        settings={"licence": "lists of the house, MIT"},
    )


def entities(seed: int = 0) -> dict[str, list[str]]:
    """Names by type; persons are combined out of first names and surnames."""
    generator = torch.Generator().manual_seed(seed)
    places = [*CAPITALS, *CAPITALS.values()]
    taken = {word for name in places for word in name.split()}
    first = [name for name in (*IOI_NAMES, *MORE_NAMES) if name not in taken][:200]
    surnames = SURNAMES.split()
    which = torch.randint(len(surnames), (len(first),), generator=generator).tolist()
    return {
        PERSON: [f"{name} {surnames[i]}" for name, i in zip(first, which)],
        PLACE: list(dict.fromkeys(places)),
        ORGANISATION: ORGANISATIONS,
    }
