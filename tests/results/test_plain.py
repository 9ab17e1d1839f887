from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from interp.errors import InputError
from interp.results.plain import from_json, plain, same, to_json


@dataclass(frozen=True)
class Point:
    x: int
    names: tuple[str, ...]


@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, 1.0, True, None, "Ġthe é 日本"], "b": {}},
        [float("nan"), float("inf"), float("-inf"), -0.0, 1e-300, 0.1 + 0.2],
        {"$float": "nan"},
        {"$dict": [["a", 1]], "other": {"$float": 1.0}},
        "half a surrogate pair: \ud83d",
        2**70,
    ],
)
def test_plain_data_come_back_exactly(value: object) -> None:
    text = to_json(plain(value))
    assert same(from_json(text), plain(value))
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not strict JSON"))


def test_nan_and_dicts_that_look_like_the_code_for_it_are_told_apart() -> None:
    back = from_json(to_json({"x": float("nan"), "y": {"$float": "nan"}}))
    assert back["x"] != back["x"]
    assert back["y"] == {"$float": "nan"}


def test_tuples_paths_scalars_and_dataclasses_become_plain() -> None:
    value = {
        "path": Path("a/b"),
        "numpy": np.float32(0.5),
        "torch": torch.tensor([1, 2]),
        "dtype": torch.bfloat16,
        "point": Point(1, ("a",)),
    }
    expected = {
        "path": "a/b",
        "numpy": 0.5,
        "torch": [1, 2],
        "dtype": "torch.bfloat16",
        "point": {"x": 1, "names": ["a"]},
    }
    assert plain(value) == expected


def test_plain_data_are_a_copy() -> None:
    inner = [1]
    copy = plain({"a": inner})
    inner.append(2)
    assert copy == {"a": [1]}


@pytest.mark.parametrize(("value", "where"), [({"a": {5: 1}}, "x.a"), ({"a": [1, {2}]}, "x.a[1]"), (print, "x")])
def test_what_would_not_come_back_is_refused_with_its_place(value: object, where: str) -> None:
    with pytest.raises(InputError, match="^" + re.escape(where)):
        plain(value, "x")


def test_same_tells_whole_numbers_from_fractions_and_ignores_key_order() -> None:
    assert same({"a": 1, "b": float("nan")}, {"b": float("nan"), "a": 1})
    assert not same(1, 1.0)
    assert not same(True, 1)
