"""Toy tasks are the toys' own pairs, and the toys solve them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from interp.errors import InputError
from interp.models.toy import TOYS, toy_module
from interp.tasks import for_toy
from tests.tasks.conftest import tiny_model


@pytest.mark.parametrize("name", list(TOYS))
def test_pairs_of_a_toy(name: str) -> None:
    task = for_toy(name, n=4, seed=2)
    clean, corrupt, answers, distractors = toy_module(name).pairs(4, 2)
    assert task.clean.tolist() == clean.tolist()
    assert task.corrupt.tolist() == corrupt.tolist()
    assert task.answers.flatten().tolist() == answers.flatten().tolist()
    assert task.distractors.flatten().tolist() == distractors.flatten().tolist()
    assert task.equal_lengths
    assert task.name == name
    assert for_toy(toy_module(name).build(), n=4, seed=2).describe() == task.describe()


def test_the_induction_toy_has_its_known_total() -> None:
    model, task = toy_module("induction").build(), for_toy("induction", n=4)
    with torch.no_grad():
        clean, corrupt = (side.as_subclass(Tensor) for side in (task.clean, task.corrupt))
        total = task.metric(model(clean)) - task.metric(model(corrupt))
    assert task.prepend_bos
    torch.testing.assert_close(total, torch.full((4,), float(toy_module("induction").TRUTH.total)))


def test_other_models_are_refused() -> None:
    with pytest.raises(InputError, match="no hand-built model"):
        for_toy(tiny_model(None, d_vocab=10))
    with pytest.raises(InputError, match="toy/induction"):
        for_toy("toy/inductoin")
    with pytest.raises(InputError, match="at least one pair"):
        for_toy("toy/linear", n=0)
