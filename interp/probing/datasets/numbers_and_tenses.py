"""Grammatical number of a subject, and tense of a verb: at the word itself, and a few words later.

At the word the form tells; later the model must have carried it there. The nouns are those of the agreement task.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch

from interp.errors import InputError
from interp.probing.datasets.placing import Text, Word, placed
from interp.probing.labelled import LabelledTokens
from interp.tasks.agreement import NUMBERS, PEOPLE, PREPOSITIONS, THINGS

TENSES = ("present", "past")
VERBS = """
walks walked|looks looked|talks talked|works worked|plays played|waits waited|helps helped|calls called|
shouts shouted|smiles smiled|laughs laughed|jumps jumped|rests rested|listens listened|arrives arrived|
returns returned|studies studied|cooks cooked|dances danced|paints painted|sings sang|swims swam|runs ran|
sits sat|stands stood|sleeps slept|eats ate|drinks drank|writes wrote|speaks spoke|drives drove|rides rode|
falls fell|flies flew|grows grew|begins began|comes came|goes went|wins won|fights fought|thinks thought|
teaches taught|digs dug|hides hid|bends bent|stays stayed|travels travelled|prays prayed|cries cried|
tries tried
""".replace("\n", "").split("|")
LATER = ("near the {}", "behind the {}", "beside the {}", "in front of the {}", "not far from the {}")


def grammatical_number(model: Any, n: int = 2000, seed: int = 0, prepend_bos: bool = False) -> LabelledTokens:
    """`n` subjects such as "The boys near the car", labelled singular or plural; positions "subject" and "end".

    "end" is a noun whose own number is independent of the subject's. Groups are nouns (both forms), types their forms.
    """
    nouns = [(one, form) for one in (*PEOPLE, *THINGS) for form in (0, 1)]
    attractors = [pair[form] for pair in THINGS for form in (0, 1)]
    combined = itertools.product(nouns, PREPOSITIONS, attractors)
    texts = []
    for (forms, number), link, attractor in _some(list(combined), n, seed):
        subject = forms[number]
        if attractor not in forms:
            text = f"The {subject} {link} the {attractor}"
            spans = {"subject": (4, 4 + len(subject)), "end": (len(text) - len(attractor), len(text))}
            texts.append(Text(text, forms[0], [Word(spans, NUMBERS[number], subject)]))
    settings = {"licence": "lists of the house, MIT"}
    return placed(model, texts, name="number", group_is="noun", seed=seed, prepend_bos=prepend_bos, settings=settings)


def verb_tense(model: Any, n: int = 2000, seed: int = 0, prepend_bos: bool = False) -> LabelledTokens:
    """`n` sentences such as "The farmer walked near the house", labelled present or past; positions "verb" and "end".

    Groups are verbs (both forms, regular and irregular ones), types their forms.
    """
    verbs = [(pair, form) for pair in (tuple(item.split()) for item in VERBS) for form in (0, 1)]
    combined = itertools.product(verbs, [one[0] for one in PEOPLE], LATER, [one[0] for one in THINGS])
    texts = []
    for (forms, tense), person, later, thing in _some(list(combined), n, seed):
        text = f"The {person} {forms[tense]} {later.format(thing)}"
        start = len(f"The {person} ")
        spans = {"verb": (start, start + len(forms[tense])), "end": (len(text) - len(thing), len(text))}
        texts.append(Text(text, forms[0], [Word(spans, TENSES[tense], forms[tense])]))
    settings = {"licence": "lists of the house, MIT"}
    return placed(model, texts, name="tense", group_is="verb", seed=seed, prepend_bos=prepend_bos, settings=settings)


def _some(combined: list[Any], n: int, seed: int) -> list[Any]:
    if n < 2:
        raise InputError(f"n={n} examples are too few for two classes")
    order = torch.randperm(len(combined), generator=torch.Generator().manual_seed(seed))[:n]
    return [combined[i] for i in order.tolist()]
