"""Agreement prompts: only the subject's number changes, and every verb of the answers agrees with it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from interp.errors import InputError
from interp.tasks import subject_verb_agreement
from interp.tasks.agreement import INNER_VERBS, PEOPLE, PREPOSITIONS, STRUCTURES, THINGS, VERBS
from tests.tasks.conftest import tiny_model, word_tokenizer
from tests.tasks.lining_up import at, check_lined_up, check_seeds, same_text, sets
from tests.tasks.space_tokenizer import space_model

FORMS = [form for pairs in (PEOPLE, THINGS, INNER_VERBS, VERBS) for pair in pairs for form in pair]
WORDS = ["The", "the", "that", *PREPOSITIONS]
NOUNS = dict(PEOPLE + THINGS)
NUMBER = dict.fromkeys(NOUNS, "singular") | dict.fromkeys(NOUNS.values(), "plural")
OTHER = NOUNS | {plural: singular for singular, plural in NOUNS.items()}
SINGULAR_VERBS, PLURAL_VERBS = ([verb[i] for verb in VERBS] for i in (0, 1))


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_model(word_tokenizer([*WORDS, *FORMS]))


def test_the_lists() -> None:
    assert len(NOUNS) == len(PEOPLE) + len(THINGS)
    assert len(NUMBER) == 2 * len(NOUNS)  # no form is in doubt
    assert not set(FORMS[: 2 * len(NOUNS)]) & {form for pair in INNER_VERBS + VERBS for form in pair}


@pytest.mark.parametrize("prepend_bos", [False, True])
@pytest.mark.parametrize("structure", STRUCTURES)
def test_each_structure(model: Any, structure: str, prepend_bos: bool) -> None:
    """Rebuild every prompt from its roles; numbers come from the word lists, answers from the subject's number."""
    task = subject_verb_agreement(model, n=24, structures=[structure], prepend_bos=prepend_bos)
    check_lined_up(task, ("subject",))
    assert task.equal_lengths
    attracted = structure != "simple"
    assert task.roles == (("subject", "link", "attractor", "end") if attracted else ("subject", "end"))
    for i in range(len(task)):
        row = task[i]
        subject, end = at(row, "subject")[0], at(row, "end")[0]
        flipped = at(row, "subject", corrupt=True)[0]
        assert flipped == OTHER[subject]
        attractor, link = (at(row, "attractor")[0], at(row, "link")[0]) if attracted else ("", "")
        kind = f"{NUMBER[subject]}_{NUMBER[attractor]}" if attracted else NUMBER[subject]
        assert task.groups[i] == f"{structure}-{kind}"
        texts = {
            "simple": "The {0}",
            "across_pp": f"The {{0}} {link} the {attractor}",
            "across_rc": f"The {{0}} that the {attractor} {end}",
            "within_rc": f"The {attractor} that the {{0}}",
        }
        assert same_text(task, i, texts[structure].format(subject))
        assert same_text(task, i, texts[structure].format(flipped), corrupt=True)
        agreeing, others = (PLURAL_VERBS, SINGULAR_VERBS)[:: 1 if NUMBER[subject] == "plural" else -1]
        assert sets(task)[i] == agreeing
        assert sets(task, "distractors")[i] == others
        if structure == "across_rc":  # the inner verb agrees with its own subject
            assert end in [verb[NUMBER[attractor] == "plural"] for verb in INNER_VERBS]
        if attracted:
            assert attractor not in (subject, flipped)
            assert link in (PREPOSITIONS if structure == "across_pp" else ("that",))


def test_balance_and_seeds(model: Any) -> None:
    task = subject_verb_agreement(model, n=112)
    assert task.roles == ("subject", "end")
    counts = Counter(task.groups)
    assert len(counts) == 14
    assert set(Counter(group.split("-")[0] for group in task.groups).values()) == {28}
    assert {n for group, n in counts.items() if group.startswith("simple")} == {14}
    assert {n for group, n in counts.items() if not group.startswith("simple")} == {7}
    three = subject_verb_agreement(model, n=6, structures=["across_pp", "across_rc", "within_rc"])
    assert three.roles == ("subject", "link", "attractor", "end")
    check_seeds(subject_verb_agreement, model)


def test_only_forms_of_one_token() -> None:
    """ "man" but not "men": left out; a verb with one long form too."""
    known = [form for pair in PEOPLE[:4] + THINGS[:3] for form in pair if form != "men"]
    task = subject_verb_agreement(space_model([*WORDS, *known, "likes", "like", "is", "are", "was"]), n=24)
    check_lined_up(task, ("subject",))
    assert task.settings["people"] == ["boy", "girl", "woman"]
    assert set(at(task, "subject")) <= {f" {form}" for pair in PEOPLE[:4] for form in pair} - {" man", " men"}
    assert {tuple(row) for row in sets(task)} == {(" is",), (" are",)}
    assert any("39 of 42 people (man, " in note for note in task.notes)


def test_refusals(model: Any) -> None:
    for options, message in (
        ({"n": 0}, "at least one pair"),
        ({"structures": ["across_np"]}, "did you mean 'across_pp'"),
        ({"structures": []}, "at least one of simple, "),
        ({"structures": "simple"}, "a list of at least one"),
    ):
        with pytest.raises(InputError, match=message):
            subject_verb_agreement(model, **options)
    with pytest.raises(InputError, match=r"only 0 of 5 verbs .* needs 1"):
        subject_verb_agreement(tiny_model(word_tokenizer([*WORDS, *FORMS[: -2 * len(VERBS)]])))
    with pytest.raises(InputError, match=r"only 1 of 42 people .* needs 2"):
        subject_verb_agreement(tiny_model(word_tokenizer([*WORDS, "boy", "boys", *FORMS[2 * len(PEOPLE) :]])))
