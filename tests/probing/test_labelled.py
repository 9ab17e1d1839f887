"""Labelled tokens: counts that match, examples that can be chosen, files of one's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from interp.errors import InputError
from interp.probing import from_jsonl, labelled_tokens
from tests.tiny_models import tiny

TOKENS = torch.arange(12).reshape(3, 4)


def test_examples_know_their_prompts_groups_and_types() -> None:
    data = labelled_tokens(TOKENS, ["b", "a", "b"], torch.tensor([1, 3, 0]))
    assert data.classes == ("a", "b")
    assert data.labels.tolist() == [1, 0, 1]
    assert data.types == ("1", "7", "8")
    assert data.groups == ("prompt 0", "prompt 1", "prompt 2")
    assert data.counts() == {"a": 1, "b": 2}
    described = data.describe()
    assert described["n"] == 3
    assert described["classes"] == {"a": 1, "b": 2}
    other = labelled_tokens(TOKENS, ["b", "a", "b"], torch.tensor([1, 3, 1]))
    assert other.describe()["examples_sha256"] != described["examples_sha256"]


def test_some_classes_and_some_examples() -> None:
    labels = ["x", "y", "z"] * 4
    at = torch.arange(12) % 4
    data = labelled_tokens(TOKENS, labels, at, rows=torch.arange(12) // 4)
    kept = data.only(["z", "x"])
    assert kept.classes == ("x", "z")
    assert kept.counts() == {"x": 4, "z": 4}
    assert len(data.sample(5, seed=1)) == 5
    assert data.sample(99) is data
    with pytest.raises(InputError, match="no class 'w'"):
        data.only(["w"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"positions": torch.tensor([1, 2])}, "3 labels and 2 positions 'token'"),
        ({"rows": torch.tensor([0, 1])}, "3 labels and 2 rows"),
        ({"labels": ["a", "b"]}, "2 labels and 3 rows"),
        ({"groups": ["g"]}, "3 labels and 1 groups"),
        ({"types": ["t"] * 4}, "3 labels and 4 types"),
        ({"labels": [], "rows": torch.tensor([], dtype=torch.long), "positions": {}}, "there are no examples"),
        ({"positions": torch.tensor([1, 2, 4])}, "position 'token' of example 2 is 4 in a prompt of 4"),
        ({"rows": torch.tensor([0, 1, 3])}, "the prompts are 0 to 2"),
    ],
)
def test_what_does_not_match_is_refused(changes: dict, message: str) -> None:
    given = {"tokens": TOKENS, "labels": ["a", "b", "a"], "positions": torch.tensor([1, 2, 3])} | changes
    with pytest.raises(InputError, match=message):
        labelled_tokens(**given)


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    lines = [
        {"text": "w5 w6 w7", "label": "up", "group": "g"},
        {"text": "w5 w6 w7 w6", "labels": [[["w6", 2], "down"], [0, "up"]], "group": "h"},
    ]
    path = tmp_path / "mine.jsonl"
    path.write_text("\n\n".join(json.dumps(line) for line in lines))
    data = from_jsonl(tiny("llama"), path)
    assert data.name == "mine"
    assert data.rows.tolist() == [0, 1, 1]
    assert data.positions["token"].tolist() == [2, 3, 0]
    assert [data.classes[label] for label in data.labels] == ["up", "down", "up"]
    assert data.groups == ("g", "h", "h")
    assert data.types == ("7", "6", "5")
    with_bos = from_jsonl(tiny("llama"), path, prepend_bos=True)
    assert with_bos.positions["token"].tolist() == [3, 4, 1]
    assert with_bos.tokens[0, 0] == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 1: not JSON"),
        ("[1]", "must be a JSON object, not list"),
        ('{"label": "a"}', "'text' is missing"),
        ('{"text": "w5"}', "give either 'label'"),
        ('{"text": "w5", "label": "a", "labels": [[0, "b"]]}', "give either 'label'"),
        ('{"text": "w5", "labels": [["w5"]]}', "a list of"),
        ('{"text": "w5", "label": 3}', "a label must be a text, not 3"),
        ('{"text": "w5", "lable": "a"}', "did you mean 'label'"),
        ('{"text": "w5 w5", "position": "w5", "label": "a"}', r'say which, as \["w5", 1\] for the first'),
        ('{"text": "w5", "position": 3, "label": "a"}', "token 3 of a prompt with 1 tokens"),
        ('{"text": "w5", "group": 7, "label": "a"}', "'group' must be a text"),
        ("", "is empty"),
    ],
)
def test_lines_that_cannot_be_used_say_why(line: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(line)
    with pytest.raises(InputError, match=message):
        from_jsonl(tiny("llama"), path)


def test_examples_are_printed_in_one_line() -> None:
    labels = [f"class {i:02d}" for i in range(10)]
    shown = repr(labelled_tokens(torch.ones(10, 4).long(), labels, torch.full((10,), 2), name="mine"))
    assert shown.startswith("LabelledTokens(mine: 10 examples in 10 prompts, at token: class 00 1, class 01 1, ")
    assert shown.endswith("class 07 1, ... (10 in all))")
    assert "\n" not in shown


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        from_jsonl(tiny("llama"), tmp_path / "none.jsonl")
