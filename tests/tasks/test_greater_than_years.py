"""Greater-than as published for two-digit tokens, and exact semantics where digits are read one by one."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from interp.errors import InputError
from interp.tasks import greater_than
from interp.tasks.greater_than_years import NOUNS
from tests.tasks.conftest import OPTIONS, SPECIAL, tiny_model, word_tokenizer
from tests.tasks.lining_up import at, check_lined_up, check_seeds, same_text, sets
from tests.tasks.space_tokenizer import SPACE, space_model

WORDS = ["The", "lasted", "from", "the", "year", "to"]
DIGITS = "0123456789"
PAIRS = [a + b for a in DIGITS for b in DIGITS]


def number_model(pattern: str, nouns: tuple[str, ...] = NOUNS, **options: Any) -> Any:
    """Words are tokens, and numbers are cut into pieces of this pattern."""
    known = [*SPECIAL.values(), *WORDS, *nouns, *DIGITS, *PAIRS, *(str(i) for i in range(100, 1000))]
    tokenizer = Tokenizer(models.WordLevel({t: i for i, t in enumerate(dict.fromkeys(known))}, unk_token="<unk>"))
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), split])
    return tiny_model(PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL, **OPTIONS), **options)


@pytest.fixture(scope="module")
def two_digits() -> Any:
    return number_model(r"\d\d")


@pytest.fixture(scope="module")
def one_digit() -> Any:
    return number_model(r"\d")


@pytest.fixture(scope="module")
def like_gpt2() -> Any:
    """ " 1732" is " 17", "32", while " 1700" is one token."""
    more = [
        (SPACE, "1"),
        *((f"{SPACE}1", d) for d in DIGITS),
        *((a, b) for a in DIGITS for b in DIGITS),
        (f"{SPACE}17", "00"),
    ]
    return space_model([*WORDS, "war", "reign", "siege"], more)


def test_the_published_nouns() -> None:
    assert len(NOUNS) == len(set(NOUNS)) == 120
    assert {"abduction", "war" + "fare", "reign", "work"} <= set(NOUNS)


@pytest.mark.parametrize("prepend_bos", [False, True])
def test_two_digits_as_published(two_digits: Any, prepend_bos: bool) -> None:
    """Rebuild prompts and answer sets from the roles alone."""
    task = greater_than(two_digits, n=60, prepend_bos=prepend_bos)
    assert (task.name, task.metric.name) == ("greater_than", "probability_difference")
    assert task.settings["variant"] == "two-digit"
    assert task.roles == ("noun", "XX1", "YY", "end")
    check_lined_up(task, ("YY",))
    assert task.equal_lengths
    assert task.notes == ()
    for i, (noun, century, yy, end) in enumerate(zip(*(at(task, role) for role in task.roles))):
        assert end == century
        assert noun in NOUNS
        assert task.groups[i] == f"{century}xx"
        assert 2 <= int(yy) <= 98
        assert same_text(task, i, f"The {noun} lasted from the year {century}{yy} to the year {century}")
        assert same_text(task, i, f"The {noun} lasted from the year {century}01 to the year {century}", corrupt=True)
        assert sets(task)[i] == [number for number in PAIRS if int(number) > int(yy)]
        assert sets(task, "distractors")[i] == [number for number in PAIRS if int(number) <= int(yy)]


def test_tokens_with_their_space(like_gpt2: Any) -> None:
    task = greater_than(like_gpt2, n=40)
    check_lined_up(task, ("YY",))
    assert set(at(task, "XX1")) == set(at(task, "end")) == {f" {century}" for century in range(11, 18)}
    assert set(at(task, "noun")) == {" reign", " siege"}
    assert all(number in PAIRS for number in at(task, "YY"))
    # "00" has no token of its own after " 17", but has after the other centuries.
    assert all("00" in row for row in sets(task, "distractors"))
    assert task.notes == (
        "left out, being no single token here: 118 of 120 nouns (abduction, accord, affair, agreement, appraisal, "
        "assaults, assessment, attack, ...)",
    )


def test_next_digit_is_exact(one_digit: Any) -> None:
    """Every year that begins with an answer is later, no year with a distractor is, and the rest is open."""
    task = greater_than(one_digit, n=120)
    assert task.name == "greater_than_next_digit"
    assert task.settings["variant"] == "next-digit"
    assert "not the paper's task" in task.notes[0]
    assert task.roles == ("noun", "XX1", "tens", "units", "end")
    check_lined_up(task, ("tens", "units"))
    answers, distractors, nines = sets(task), sets(task, "distractors"), 0
    for i, (noun, tens, units) in enumerate(zip(at(task, "noun"), at(task, "tens"), at(task, "units"))):
        century, yy = task.groups[i][:2], int(tens + units)
        assert same_text(task, i, f"The {noun} lasted from the year {century}{tens}{units} to the year {century}")
        assert same_text(task, i, f"The {noun} lasted from the year {century}01 to the year {century}", corrupt=True)
        later = {d: {int(d + u) > yy for u in DIGITS} for d in DIGITS}
        assert answers[i] == [d for d in DIGITS if later[d] == {True}]
        assert distractors[i] == [d for d in DIGITS if later[d] == {False}]
        nines += units == "9"
    assert nines > 3
    assert set(at(task, "tens", corrupt=True)) == {"0"}
    assert set(at(task, "units", corrupt=True)) == {"1"}


def test_balance_and_seeds(two_digits: Any) -> None:
    task = greater_than(two_digits, n=140)
    assert set(Counter(task.groups).values()) == {20}
    assert len(set(zip(task.groups, at(task, "YY")))) == 140
    check_seeds(greater_than, two_digits)


def test_scored_by_probability(two_digits: Any) -> None:
    task = greater_than(two_digits, n=3)
    logits = torch.randn(3, int(task.lengths[0]), len(task.tokenizer))
    p = logits[:, -1].softmax(-1)
    expected = [
        float(p[i, [t for t in task.answers[i].tolist() if t >= 0]].sum())
        - float(p[i, [t for t in task.distractors[i].tolist() if t >= 0]].sum())
        for i in range(3)
    ]
    assert torch.allclose(task.metric(logits), torch.tensor(expected), atol=1e-6)


def test_refusals(two_digits: Any, one_digit: Any) -> None:
    for options, message in (({"n": 0}, "at least one pair"), ({"variant": "two_digit"}, "did you mean 'two-digit'")):
        with pytest.raises(InputError, match=message):
            greater_than(two_digits, **options)
    with pytest.raises(InputError, match=r"two tokens of two digits.*variant='auto'"):
        greater_than(one_digit, variant="two-digit")
    with pytest.raises(InputError, match="does not read years digit by digit"):
        greater_than(two_digits, variant="next-digit")
    for whole_or_thirds in (number_model(r"\d{1,3}"), tiny_model(word_tokenizer([*WORDS, *NOUNS, "1732"]))):
        with pytest.raises(InputError, match=r"two tokens of two digits or digit by digit, as this task needs$"):
            greater_than(whole_or_thirds)
    with pytest.raises(InputError, match="only 0 of 120 nouns"):
        greater_than(number_model(r"\d\d", nouns=("war",)))
    with pytest.raises(InputError, match="the model takes 8"):
        greater_than(number_model(r"\d\d", n_ctx=8))
    with pytest.raises(InputError, match="no tokenizer"):
        greater_than(tiny_model(None, d_vocab=10))
