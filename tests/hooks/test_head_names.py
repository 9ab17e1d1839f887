"""Heads by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from interp.errors import InputError
from interp.hooks.head_names import as_heads, as_layers, head_name, largest_heads
from tests.tiny_models import tiny


def test_every_way_to_name_a_head() -> None:
    model = tiny("llama")
    assert as_heads(model, "2.1") == as_heads(model, "a2.1") == as_heads(model, (2, 1)) == [(2, 1)]
    assert as_heads(model, ["0.3", (2, 1), [1, 0], "0.3"]) == [(0, 3), (2, 1), (1, 0)]
    assert head_name((2, 1)) == "2.1"
    assert as_layers(model, None) == [0, 1, 2, 3]
    assert as_layers(model, 2) == [2]


@pytest.mark.parametrize("given", ["2", "x.1", "4.0", "0.4", "0.-1", [], (0, 9)])
def test_no_head(given: Any) -> None:
    with pytest.raises(InputError):
        as_heads(tiny("llama"), given)


def test_largest_heads_leave_out_nan() -> None:
    scores = torch.tensor([[0.1, float("nan")], [0.5, 0.3]])
    assert largest_heads(scores, 2) == [(1, 0), (1, 1)]
