"""Prompts in whatever form they are given."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from interp.errors import InputError
from interp.tasks import from_tokens
from interp.tasks.prompting import as_prompts, described, has_bos, strings_of
from tests.tiny_models import tiny


def test_texts_become_padded_tokens_that_know_their_lengths() -> None:
    prompts = as_prompts(tiny("llama"), ["w5 w6 w7", "w8"], prepend_bos=True)
    assert prompts.lengths.tolist() == [4, 2]
    assert prompts[:, 0].tolist() == [1, 1]
    assert strings_of(tiny("llama"), prompts) == [["w1", "w5", "w6", "w7"], ["w1", "w8"]]


def test_tokens_and_tasks_are_taken_as_they_are() -> None:
    model = tiny("llama")
    assert as_prompts(model, torch.tensor([5, 6])).tolist() == [[5, 6]]
    task = from_tokens([[5, 6]], [[5, 7]], [8], [9], prepend_bos=False)
    assert as_prompts(model, task) is task.clean
    assert described(task)["task"]["name"] == "custom"
    assert described("w5") == {"task": None, "seed": None}
    assert [has_bos(given, False) for given in (task, torch.tensor([5]), "w5")] == [False, None, False]


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        ("", {}, "no tokens"),
        ([], {}, "give a text"),
        (torch.tensor([[5, 100]]), {}, "token id 100 is outside"),
        (torch.tensor([[-1]]), {}, "token id -1 is outside"),
        (torch.zeros(0, 3, dtype=torch.long), {}, "must be integers"),
        (torch.tensor([[5]]), {"prepend_bos": True}, "taken as they are"),
        ("w5", {"shortest": 2}, "a prompt has 1 token; this needs at least 2"),
        ("w5 " * 65, {}, "has 65 tokens and the model takes 64"),
    ],
)
def test_what_is_no_prompt_is_refused(given: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        as_prompts(tiny("llama"), given, **options)
