"""Subject-verb agreement: "The keys near the cabinet" -> " are", not " is", whatever stands in between.

Linzen et al. 2016, "Assessing the Ability of LSTMs to Learn Syntax-Sensitive Dependencies"; the four structures are
those of Finlayson et al. 2021 and of Marks et al. 2024, "Sparse Feature Circuits", section 4. The wording is ours.
An attractor is another noun between which and the verb there is no agreement.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from interp.errors import InputError, unknown
from interp.tasks.pairs import PromptPairs
from interp.tasks.template_pairs import Drawn, check_n, fill, from_templates, in_turn, left_out, need
from interp.tasks.wording import Wording, wording

Forms = tuple[str, str]  # singular, plural
NUMBERS = ("singular", "plural")

# The verb to come agrees with [subject]; the verb inside a relative clause, [inner], with the [attractor] before it.
STRUCTURES = {
    "simple": "The [subject]",
    "across_pp": "The [subject] [link] the [attractor]",
    "across_rc": "The [subject] [link] the [attractor] [inner]",
    "within_rc": "The [attractor] [link] the [subject]",
}
PEOPLE: tuple[Forms, ...] = (
    ("boy", "boys"), ("girl", "girls"), ("man", "men"), ("woman", "women"), ("kid", "kids"), ("guy", "guys"),
    ("mother", "mothers"), ("father", "fathers"), ("sister", "sisters"), ("brother", "brothers"), ("son", "sons"),
    ("daughter", "daughters"), ("parent", "parents"), ("friend", "friends"), ("neighbor", "neighbors"),
    ("teacher", "teachers"), ("student", "students"), ("doctor", "doctors"), ("nurse", "nurses"),
    ("lawyer", "lawyers"), ("judge", "judges"), ("farmer", "farmers"), ("author", "authors"), ("writer", "writers"),
    ("singer", "singers"), ("actor", "actors"), ("artist", "artists"), ("poet", "poets"), ("pilot", "pilots"),
    ("driver", "drivers"), ("soldier", "soldiers"), ("officer", "officers"), ("guard", "guards"), ("king", "kings"),
    ("worker", "workers"), ("manager", "managers"), ("engineer", "engineers"), ("scientist", "scientists"),
    ("player", "players"), ("customer", "customers"), ("visitor", "visitors"), ("tourist", "tourists"),
)  # fmt: skip
THINGS: tuple[Forms, ...] = (
    ("table", "tables"), ("chair", "chairs"), ("desk", "desks"), ("car", "cars"), ("truck", "trucks"),
    ("boat", "boats"), ("tree", "trees"), ("flower", "flowers"), ("house", "houses"), ("tower", "towers"),
    ("bridge", "bridges"), ("door", "doors"), ("window", "windows"), ("wall", "walls"), ("box", "boxes"),
    ("picture", "pictures"), ("statue", "statues"), ("dog", "dogs"), ("cat", "cats"), ("horse", "horses"),
)  # fmt: skip
PREPOSITIONS = ("near", "behind", "beside")
INNER_VERBS: tuple[Forms, ...] = (("likes", "like"), ("knows", "know"), ("sees", "see"), ("loves", "love"),
                                  ("hates", "hate"))  # fmt: skip
VERBS: tuple[Forms, ...] = (("is", "are"), ("was", "were"), ("has", "have"), ("does", "do"), ("goes", "go"))


def subject_verb_agreement(
    model: Any,
    n: int = 100,
    seed: int = 0,
    prepend_bos: bool = False,
    *,
    structures: Sequence[str] = tuple(STRUCTURES),
) -> PromptPairs:
    """Agreement in number: answers are verbs in the subject's number, distractors the same verbs in the other.

    structures, any of:
        "simple"     The keys                       the verb follows its subject
        "across_pp"  The boys near the car          across a prepositional phrase
        "across_rc"  The boys that the girl likes   across a relative clause
        "within_rc"  The boy that the girls         inside a relative clause: the verb agrees with the nearer noun
    The corrupt prompt has the subject in the other number and differs at "subject" only, so answers become distractors.
    The attractor's number never changes within a pair and equals the subject's in half of them.

    Answers are the verbs of VERBS whose two forms are single tokens ("are", "were", "have", ...), so logit_difference
    is the mean over verbs. Roles "subject", "end", and, without "simple", "link" (the preposition or "that") and
    "attractor". n: pairs, spread evenly over structures, and within them over numbers; `groups` are "simple-plural",
    "across_pp-plural_singular" (subject, attractor). Nouns whose forms are not both single tokens are left out;
    `settings` and `notes` say so. prepend_bos: off, stored with the task. Raises InputError when fewer than two people,
    things, or no verb are left.
    """
    check_n(n)
    _check_structures(structures)
    words = wording(model, prepend_bos)
    lists = {"people": PEOPLE, "things": THINGS, "inner verbs": INNER_VERBS, "verbs": VERBS}
    forms = {what: _one_token_forms(words, listed) for what, listed in lists.items()}
    for what, found in forms.items():
        need(found, 1 if "verbs" in what else 2, lists[what], what)
    return from_templates(
        model,
        words,
        list(_draw(n, seed, structures, forms)),
        roles=("subject",) if "simple" in structures else ("subject", "link", "attractor"),
        name="subject_verb_agreement",
        prepend_bos=prepend_bos,
        seed=seed,
        settings={
            "corruption": "number",
            "structures": list(structures),
            **{what.replace(" ", "_"): [forms[0] for forms in found] for what, found in forms.items()},
        },
        notes=[
            note
            for what, found in forms.items()
            for note in left_out([pair[0] for pair in found], [pair[0] for pair in lists[what]], what)
        ],
    )


def _check_structures(structures: Sequence[str]) -> None:
    if isinstance(structures, str) or not structures:
        raise InputError(f"structures are a list of at least one of {', '.join(STRUCTURES)}")
    for structure in structures:
        if structure not in STRUCTURES:
            raise unknown("structure", structure, STRUCTURES)


def _one_token_forms(words: Wording, listed: Sequence[Forms]) -> dict[Forms, tuple[int, int]]:
    """The words whose singular and plural are two different single tokens after "The", with those tokens."""
    found = {}
    for singular, plural in listed:
        one, many = words.single_token(singular, after="The"), words.single_token(plural, after="The")
        if one is not None and many is not None and one != many:
            found[singular, plural] = (one, many)
    return found


def _draw(
    n: int, seed: int, structures: Sequence[str], forms: Mapping[str, Mapping[Forms, tuple[int, int]]]
) -> Iterator[Drawn]:
    """`n` pairs: structures in turn, the numbers of subject and attractor in turn in each, words in turn."""
    generator = torch.Generator().manual_seed(seed)
    both = [(subject, attractor) for subject in (0, 1) for attractor in (0, 1)]
    structure_in_turn = in_turn(structures, generator)
    numbers_in_turn = {structure: in_turn(both, generator) for structure in structures}
    people, others, things, inner_verbs = (
        in_turn(list(forms[what]), generator) for what in ("people", "people", "things", "inner verbs")
    )
    verb_ids = [[ids[number] for ids in forms["verbs"].values()] for number in (0, 1)]
    for i in range(n):
        structure = next(structure_in_turn)
        number, attracting = next(numbers_in_turn[structure])
        subject = next(people)
        attractor = next(things if structure == "across_pp" else others)
        if attractor == subject:
            attractor = next(others)
        slots = {
            "link": PREPOSITIONS[i % len(PREPOSITIONS)] if structure == "across_pp" else "that",
            "attractor": attractor[attracting],
            "inner": next(inner_verbs)[attracting],
        }
        named = NUMBERS[number] if structure == "simple" else f"{NUMBERS[number]}_{NUMBERS[attracting]}"
        yield Drawn(
            fill(STRUCTURES[structure], {"subject": subject[number], **slots}),
            fill(STRUCTURES[structure], {"subject": subject[1 - number], **slots}),
            verb_ids[number],
            verb_ids[1 - number],
            group=f"{structure}-{named}",
        )
