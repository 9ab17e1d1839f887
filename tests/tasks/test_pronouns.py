"""Pronoun prompts are the published ones; a name of the other gender flips the answer."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from interp.errors import InputError
from interp.tasks import gendered_pronoun
from interp.tasks.names import IOI_NAMES, MORE_NAMES
from interp.tasks.pronouns import NAMES, TEMPLATES
from tests.tasks.conftest import tiny_model, word_tokenizer
from tests.tasks.lining_up import at, check_lined_up, check_seeds, same_text, sets
from tests.tasks.space_tokenizer import space_model

_WORDS = "So That person is a really great friend such good cook very athlete nice funny , isn ' t he she"
WORDS = _WORDS.split()
HE, SHE = NAMES["he"], NAMES["she"]


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_model(word_tokenizer([*WORDS, *HE, *SHE]))


def text_of(index: int, so: str, name: str) -> str:
    return TEMPLATES[index].replace("[So]", so).replace("[name]", name).replace("[is]", "is")


def test_the_lists() -> None:
    assert len(set(HE)) == len(HE) > 50
    assert len(set(SHE)) == len(SHE) > 50
    assert not set(HE) & set(SHE)
    # Ordinary names as elsewhere in the house, and none that both lists could claim.
    assert set(HE + SHE) <= {*IOI_NAMES, *MORE_NAMES, "Gary", "Carl"}
    assert not {"Alex", "Sam", "Chris", "Taylor", "Jamie", "Kelly", "Robin", "Terry", "Morgan"} & set(HE + SHE)


@pytest.mark.parametrize("prepend_bos", [False, True])
def test_prompts_and_answers(model: Any, prepend_bos: bool) -> None:
    task = gendered_pronoun(model, n=40, prepend_bos=prepend_bos)
    assert task.roles == ("name", "is", "end")
    assert task.metric.name == "logit_difference"
    check_lined_up(task, ("name",))
    assert set(at(task, "is")) == {"is"}
    assert set(at(task, "end")) == {"t"}
    for i, (name, other) in enumerate(zip(at(task, "name"), at(task, "name", corrupt=True))):
        answer, index = task.groups[i].split("-")
        assert sets(task)[i] == [answer]
        assert sets(task, "distractors")[i] == ["she" if answer == "he" else "he"]
        assert name in NAMES[answer]
        assert other not in NAMES[answer]
        assert same_text(task, i, text_of(int(index), "So", name))
        assert same_text(task, i, text_of(int(index), "So", other), corrupt=True)


def test_the_neutral_baseline(model: Any) -> None:
    task = gendered_pronoun(model, n=20, corruption="person")
    assert task.describe()["corruption"] == "person"
    assert task.aligned
    for i, group in enumerate(task.groups):
        assert same_text(task, i, text_of(int(group[-1]), "That", "person"), corrupt=True)
    assert task.texts()["clean"] == gendered_pronoun(model, n=20).texts()["clean"]


def test_balance_and_seeds(model: Any) -> None:
    counts = Counter(gendered_pronoun(model, n=100).groups)
    assert len(counts) == 10
    assert set(counts.values()) == {10}
    assert set(gendered_pronoun(model, n=8, templates=[1, 3]).groups) == {"he-1", "she-1", "he-3", "she-3"}
    check_seeds(gendered_pronoun, model)


def test_names_of_one_token_with_the_space_before_it() -> None:
    task = gendered_pronoun(space_model(["John", "Mark", "Mary", "Lisa", "he", "she", "isn"]), n=12)
    assert set(at(task, "name")) == {" John", " Mark", " Mary", " Lisa"}
    assert {answer for row in sets(task) for answer in row} == {" he", " she"}
    assert task.settings["names"] == {"he": ["John", "Mark"], "she": ["Mary", "Lisa"]}
    assert task.notes[0].startswith("left out, being no single token here: 52 of 54 first names for 'he' (David, Paul,")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "at least one pair"),
        ({"corruption": "genders"}, "did you mean 'gender'"),
        ({"templates": [5]}, "from 0 to 4"),
        ({"templates": []}, "at least one"),
    ],
)
def test_refusals(model: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        gendered_pronoun(model, **options)


def test_too_few_words() -> None:
    with pytest.raises(InputError, match=r"only 1 of 52 first names for 'she' .* needs 2"):
        gendered_pronoun(tiny_model(word_tokenizer([*WORDS, *HE, "Mary"])))
    with pytest.raises(InputError, match="only 1 of 2 pronouns"):
        gendered_pronoun(tiny_model(word_tokenizer([*(w for w in WORDS if w != "she"), *HE, *SHE])))
