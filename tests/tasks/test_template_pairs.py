"""Filling templates, drawing evenly, and refusing what does not line up."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import Any

import pytest
import torch

from interp.errors import InputError
from interp.tasks.template_pairs import Drawn, fill, from_templates, in_turn, left_out, need, one_token_words
from interp.tasks.wording import wording
from tests.tasks.space_tokenizer import merges_of, space_model


def test_slots_are_filled_and_found() -> None:
    filled = fill("The [noun] of [year][year+1] [x].", {"noun": "war", "year": "17", "year+1": "32", "x": ""})
    assert filled.text == "The war of 1732 ."
    assert {slot: filled.text[a:b] for slot, (a, b) in filled.spans.items()} == {
        "noun": "war",
        "year": "17",
        "year+1": "32",
        "x": "",
    }


def test_options_come_in_turn() -> None:
    drawn = list(islice(in_turn("abcde", torch.Generator().manual_seed(0)), 50))
    rounds = [tuple(drawn[i : i + 5]) for i in range(0, 50, 5)]
    assert all(sorted(one) == list("abcde") for one in rounds)
    assert len(set(rounds)) > 5
    assert set(Counter(drawn).values()) == {10}


def test_only_single_tokens_and_no_token_twice() -> None:
    words = wording(space_model(["cat", "dog"]), False)
    found = one_token_words(words, ["cat", "bird", "dog", "cat"], after="The")
    assert [words.tokenizer.decode([token]) for token in found.values()] == [" cat", " dog"]
    need(found, 2, ["cat", "bird", "dog"], "animals")
    with pytest.raises(InputError, match=r"only 2 of 3 animals .* needs 3; .*from_jsonl"):
        need(found, 3, ["cat", "bird", "dog"], "animals")
    assert left_out(found, ["cat", "bird", "dog"], "animals") == (
        "left out, being no single token here: 1 of 3 animals (bird)",
    )
    assert left_out(found, ["cat", "dog"], "animals") == ()


def one(model: Any, template: str, clean: str, corrupt: str, prepend_bos: bool = False) -> Any:
    drawn = Drawn(fill(template, {"x": clean}), fill(template, {"x": corrupt}), [5], [6], "all")
    words = wording(model, prepend_bos)
    options: dict[str, Any] = {"name": "t", "prepend_bos": prepend_bos, "seed": 0, "settings": {}}
    return from_templates(model, words, [drawn], ("x",), **options)


@pytest.mark.parametrize("prepend_bos", [False, True])
def test_a_slot_of_several_tokens_is_found_at_its_last(prepend_bos: bool) -> None:
    model = space_model(["The", "cat", "sat", "on"])
    task = one(model, "The [x] sat on", "big", "wet", prepend_bos)
    tokens = task.token_strings()[0]
    assert tokens[prepend_bos:] == ["T", "h", "e", " ", "b", "i", "g", " sat", " on"]
    assert task.positions["x"].tolist() == [6 + prepend_bos]
    assert task.positions["end"].tolist() == [8 + prepend_bos]
    # At the beginning of a text nothing stands before the slot.
    assert one(model, "[x] sat on", "He", "It", prepend_bos).positions["x"].tolist() == [1 + prepend_bos]


def test_what_does_not_line_up_is_refused() -> None:
    """Pairs of two lengths, slots that move, and slots that merge with the word after them."""
    model = space_model(["cat", "oldster"], more=[*merges_of("new"), ("Ġnew", "s")])
    for template, clean, corrupt in (
        ("The [x] sat", "cat", "bird"),
        ("The [x]s sat", "new", "few"),
    ):
        with pytest.raises(InputError, match="does not keep what differs"):
            one(model, template, clean, corrupt)
