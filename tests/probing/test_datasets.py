"""The tasks of the house: labels that are right, places that are right, groups that cannot leak."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from interp.errors import InputError
from interp.models.tokens import to_strings
from interp.probing import DATASETS, LabelledTokens, dataset
from interp.probing.datasets import statements
from interp.probing.datasets.entities import entities
from interp.probing.datasets.numbers_and_tenses import VERBS
from interp.probing.datasets.parts_of_speech import parts_of_speech
from interp.probing.datasets.running_text import kind_of, next_tokens, token_positions
from interp.probing.datasets.tagging import Tagger
from interp.probing.splitting import check_duplicates, numbered
from interp.tasks.agreement import PEOPLE, THINGS
from interp.tasks.capitals import CAPITALS
from tests.tasks.space_tokenizer import space_model
from tests.tiny_models import tiny


@pytest.fixture(scope="module")
def reader() -> Any:
    """A model that reads bytes, with a few whole words."""
    return space_model(["boy", "boys", "walked", "walks", "near", "the", "is"])


def shown(model: Any, data: LabelledTokens, i: int, role: str) -> str:
    """The text up to the position of an example."""
    row = data.tokens.as_subclass(Tensor)[data.rows[i]]
    return "".join(to_strings(model, row[: int(data.positions[role][i]) + 1]))


@pytest.mark.parametrize("name", ["entity", "number", "tense", "truth"])
def test_templates_give_what_was_asked_without_leaks(name: str, reader: Any) -> None:
    data = dataset(reader, name, n=120, seed=3)
    assert 100 <= len(data) <= 120
    check_duplicates(data, numbered(data.groups), data.group_is)
    again = dataset(reader, name, n=120, seed=3)
    assert again.describe() == data.describe()
    assert dataset(reader, name, n=120, seed=4).describe() != data.describe()
    counts = data.counts().values()
    assert min(counts) > 0.7 * max(counts)
    assert "licence" in data.settings


def test_numbers_are_those_of_the_subject(reader: Any) -> None:
    data = dataset(reader, "number", n=80)
    plural = {forms[1] for forms in (*PEOPLE, *THINGS)}
    for i in range(len(data)):
        subject = shown(reader, data, i, "subject").removeprefix("The ")
        assert subject == data.types[i]
        assert data.classes[data.labels[i]] == ("plural" if subject in plural else "singular")
        assert shown(reader, data, i, "end").startswith(f"The {subject} ")
        assert data.groups[i] in subject or subject in ("men", "women")


def test_the_attractor_says_nothing_of_the_subject(reader: Any) -> None:
    data = dataset(reader, "number", n=2000)
    attractors = torch.tensor([shown(reader, data, i, "end").endswith("s") for i in range(len(data))])
    agreement = float((attractors == (data.labels == data.classes.index("plural"))).float().mean())
    assert abs(agreement - 0.5) < 0.05


def test_tenses_are_those_of_the_verb(reader: Any) -> None:
    data = dataset(reader, "tense", n=80)
    past = {item.split()[1] for item in VERBS}
    for i in range(len(data)):
        verb = shown(reader, data, i, "verb").split()[-1]
        assert data.classes[data.labels[i]] == ("past" if verb in past else "present")


def test_statements_are_true_or_false(reader: Any) -> None:
    data = dataset(reader, "truth", n=150)
    for i in range(len(data)):
        text = shown(reader, data, i, "end")
        assert text.endswith(".")
        true = data.classes[data.labels[i]] == "true"
        negated = " not " in text
        if data.groups[i] in CAPITALS:
            right = CAPITALS[data.groups[i]] == data.types[i]
            assert data.types[i] in text or not data.types[i].isascii()  # one byte a token
            assert true == (right != negated)
    number = {name: value for value, name in _numbers().items()}
    compared = [i for i in range(len(data)) if data.groups[i] in number]
    assert compared
    for i in compared:
        a, b = number[data.groups[i]], number[data.types[i]]
        assert (data.classes[data.labels[i]] == "true") == ((a > b) == ("larger" in shown(reader, data, i, "end")))


def _numbers() -> dict[int, str]:
    return {ten + i: statements.TENS[ten] + statements.UNITS[i] for ten in statements.TENS for i in range(10)}


def test_entities_end_the_text_and_belong_to_one_type(reader: Any) -> None:
    data = dataset(reader, "entity", n=90)
    known = entities()
    assert not set(known["place"]) & set(known["organisation"])
    for i in range(len(data)):
        text = shown(reader, data, i, "entity")
        label = data.classes[data.labels[i]]
        assert any(text.endswith(name) for name in known[label])
        assert text.split()[-1] == data.types[i] == data.groups[i]
    labels_of: dict[str, set[int]] = {}
    for word, label in zip(data.types, data.labels.tolist()):
        labels_of.setdefault(word, set()).add(label)
    assert sum(len(found) > 1 for found in labels_of.values()) < 0.1 * len(labels_of)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Twelve documents of simple sentences."""
    for i in range(12):
        words = [f"The boy {i} walked near a house. We, the {i} friends, sang In Paris." for _ in range(40)]
        (tmp_path / f"{i}.txt").write_text(" ".join(words))
    return tmp_path


@pytest.mark.parametrize("make", [next_tokens, token_positions])
def test_running_text_is_labelled_by_its_own_tokens(make: Callable, reader: Any, texts: Path) -> None:
    data = make(reader, 96, 0, source=texts)
    assert len(data.tokens) == 8
    plain = data.tokens.as_subclass(Tensor)
    for i in range(len(data)):
        at = int(data.positions["token"][i])
        label = data.classes[data.labels[i]]
        if data.name == "position":
            low, high = (int(word) for word in label.removeprefix("tokens ").split(" to "))
            assert low <= at <= high
        else:
            assert label == kind_of(to_strings(reader, plain[data.rows[i], at + 1 : at + 2])[0])


@pytest.mark.parametrize(
    ("text", "kind"),
    [(" cat", "word"), (" Cat", "capitalised word"), ("at", "continuation"), ("17", "number"), (" 1", "number"),
     (",", "punctuation"), (" (", "punctuation"), ("\n", "line break"), (" ", "line break")],
)  # fmt: skip
def test_kinds_of_tokens(text: str, kind: str) -> None:
    assert kind_of(text) == kind


def test_positions_without_a_tokenizer() -> None:
    data = token_positions(tiny("native"), 64, 0)
    assert data.notes == ("random tokens, since the model has no tokenizer",)
    with pytest.raises(InputError, match="no tokenizer"):
        next_tokens(tiny("native"), 64, 0)


LEXICON = {"The": "DT", "the": "DT", "dog": "NN", "run": "NN", "to": "TO", "walked": "VBD", "we": "PRP", "house": "NN",
           "a": "DT", "near": "IN", "sang": "VBD", "boy": "NN", "friends": "NNS"}  # fmt: skip
MORPHOLOGY = [
    rule.split()
    for rule in (
        "NN s fhassuf 1 NNS x",
        "ly hassuf 2 RB x",
        "NN ed fhassuf 2 VBN x",
        "un deletepref 2 JJ x",
        "walked goodright NN x",
    )
]
CONTEXT = [
    rule.split() for rule in ("NN VB PREVTAG TO", "VBN VBD PREV1OR2TAG PRP", "VB NN PREV1OR2TAG DT", "NN JJ NEXTWD dog")
]


@pytest.mark.parametrize(
    ("sentence", "tags"),
    [
        ("The dog walked", "DT NN VBD"),
        ("we to run", "PRP TO VB"),  # a noun after "to" is a verb
        ("the run", "DT NN"),
        ("zorks quickly blipped", "NNS RB VBN"),  # by their endings
        ("we quickly blipped", "PRP RB VBD"),  # after a pronoun
        ("undog", "JJ"),  # the rest is in the lexicon
        ("walked zork", "VBD NN"),
        ("Smith 1,200", "NNP CD"),
        ("zork dog", "JJ NN"),
    ],
)
def test_brills_rules(sentence: str, tags: str) -> None:
    tagger = Tagger(LEXICON, MORPHOLOGY, CONTEXT)
    assert " ".join(tagger.tags(sentence.split())) == tags


def test_parts_of_speech_stand_at_the_ends_of_words(reader: Any, texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tagger = Tagger(LEXICON, MORPHOLOGY, CONTEXT)
    monkeypatch.setattr("interp.probing.datasets.parts_of_speech.tagger", lambda: tagger)
    data = parts_of_speech(reader, 150, 0, source=texts)
    found = set()
    for i in range(len(data)):
        word = shown(reader, data, i, "token").split()[-1].strip(",.")
        assert word.lower() == data.types[i]
        found.add((data.types[i], data.classes[data.labels[i]]))
    assert {("boy", "NOUN"), ("walked", "VERB"), ("the", "DET"), ("near", "ADP")} <= found


@pytest.mark.slow
def test_the_tagger_that_is_fetched_knows_english() -> None:
    from interp.probing.datasets.tagging import tagger

    sentence = "The old men that we met yesterday quickly built a house for their children ."
    expected = "DT JJ NNS IN PRP VBD NN RB VBD DT NN IN PRP$ NNS ."
    assert " ".join(tagger().tags(sentence.split())) == expected


def test_tasks_by_name() -> None:
    assert set(DATASETS) == {"pos", "entity", "number", "tense", "position", "next_token", "truth"}
    with pytest.raises(InputError, match="did you mean 'tense'"):
        dataset(tiny("llama"), "tenses")
    with pytest.raises(InputError, match="too few"):
        dataset(tiny("llama"), "tense", n=1)
