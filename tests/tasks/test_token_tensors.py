"""from_tokens refuses what could not be scored, and says which pair."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from interp.errors import InputError
from interp.tasks import from_tokens

GOOD: dict[str, Any] = {"clean": [[1, 2], [3]], "corrupt": [[1, 4], [5]], "answers": [6, 7], "distractors": [8, 9]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"clean": torch.tensor([[1.0, float("nan")], [1.0, 2.0]])}, "integers.*not float32"),
        ({"clean": torch.tensor([1, 2])}, "two-dimensional"),
        ({"clean": [[1, -2], [3]]}, "clean of pair 0 holds the token id -2, which is negative"),
        ({"corrupt": [[1, 4]]}, "2 clean and 1 corrupt"),
        ({"clean": [[1, 2], []]}, "clean prompts: lengths must be"),
        ({"clean": [], "corrupt": [], "answers": [], "distractors": []}, "at least one pair"),
        ({"answers": [6]}, "1 rows for 2 pairs"),
        ({"answers": [6, -1]}, "pair 1 has no answer"),
        ({"answers": [6, -2]}, "pair 1 holds the token id -2"),
        ({"answers": [[6], [9]]}, "pair 1 are also its distractors"),
        ({"n_vocab": 9}, "distractors of pair 1 holds the token id 9, which is outside the vocabulary"),
        ({"positions": {"x": [2, 0]}}, "clean prompts: position 'x'"),
        ({"positions": {"x": [0, 0]}, "corrupt_positions": {"y": [0, 0]}}, "same roles"),
        ({"positions": {"x": torch.tensor([0.0, 0.0])}}, "one integer a pair"),
        ({"groups": ["a"]}, "1 groups"),
        ({"lengths": [2, 1]}, "lists say their own lengths"),
    ],
)
def test_refusals(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_tokens(**{**GOOD, **changes})


def test_overlapping_sets_warn() -> None:
    with pytest.warns(UserWarning, match="1 pairs share tokens"):
        from_tokens(**{**GOOD, "answers": [[6, 8], [7]]})


def test_tensors_with_lengths() -> None:
    task = from_tokens(
        torch.tensor([[1, 2, 0], [3, 0, 0]], dtype=torch.int32),
        torch.tensor([[1, 4], [5, 0]]),
        torch.tensor([6, 7]),
        torch.tensor([[8, -1], [9, 10]]),
        lengths=[2, 1],
        corrupt_lengths=torch.tensor([2, 1]),
    )
    assert task.clean.dtype == torch.int64
    assert task.clean.shape == task.corrupt.shape == (2, 3)
    assert task.positions["end"].tolist() == [1, 0]


def test_lengths_beyond_the_tensor_are_refused() -> None:
    with pytest.raises(InputError, match="from 1 to 2"):
        from_tokens(torch.ones(1, 2).long(), torch.zeros(1, 2).long(), [1], [2], lengths=[3])
