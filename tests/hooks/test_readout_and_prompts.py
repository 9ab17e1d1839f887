"""Which logits are wanted, and tokens that know their prompts: against plain loops."""

from __future__ import annotations

import copy

import pytest
import torch

from interp.hooks.prompts import PromptTokens, prompt_tokens, real_tokens
from interp.hooks.readout import Readout
from tests.tiny_models import random_tokens, tiny

LOGITS = torch.randn((2, 3, 5, 11), generator=torch.Generator().manual_seed(0))  # two runs of three prompts
READOUT = Readout(torch.tensor([[4, 0], [3, 3], [1, 2]]), torch.tensor([[1, -1, 5], [6, 2, -1], [0, 3, 10]]))


def test_gather_is_position_major_with_zeros_for_padding():
    values = READOUT.gather(LOGITS)
    assert values.shape == (2, 3, 6)
    for run in range(2):
        for row in range(3):
            expected = [
                LOGITS[run, row, position, column].item() if column >= 0 else 0.0
                for position in READOUT.positions[row]
                for column in READOUT.columns[row]
            ]
            assert values[run, row].tolist() == expected


def test_gather_of_the_whole_vocabulary():
    values = Readout(READOUT.positions, None).gather(LOGITS[0])
    assert values.shape == (3, 22)
    assert torch.equal(values[1, 11:], LOGITS[0, 1, 3])


def test_repeat_and_rows():
    flat = LOGITS.flatten(0, 1)
    assert torch.equal(READOUT.repeat(2).gather(flat), READOUT.gather(LOGITS).flatten(0, 1))
    assert torch.equal(READOUT.rows(slice(1, 3)).gather(LOGITS[0, 1:]), READOUT.gather(LOGITS[0])[1:])
    picked = torch.tensor([2, 0])
    assert torch.equal(READOUT.rows(picked).gather(LOGITS[0, picked]), READOUT.gather(LOGITS[0])[picked])
    assert Readout(READOUT.positions, None).rows(picked).columns is None
    assert READOUT.to("cpu").positions.device.type == "cpu"


PLAIN = random_tokens(n_rows=3, n_pos=6)
LENGTHS = torch.tensor([6, 4, 5])
GIVEN = {"lengths": LENGTHS, "positions": {"end": torch.tensor([5, 3, 4])}, "groups": ["a", "b", "a"]}


def test_prompts_are_tokens_and_remember():
    prompts = prompt_tokens(PLAIN, **GIVEN)
    assert isinstance(prompts, PromptTokens)
    assert torch.equal(prompts.as_subclass(torch.Tensor), PLAIN)
    assert prompts.groups == ("a", "b", "a")
    assert torch.equal(tiny("llama")(prompts), tiny("llama")(PLAIN))


def test_operations_give_plain_tensors():
    prompts = prompt_tokens(PLAIN, **GIVEN)
    for made in (prompts[:2], prompts + 1, prompts.clone(), prompts.repeat(2, 1), torch.cat([prompts, prompts])):
        assert type(made) is torch.Tensor


def test_editing_the_callers_tensor_changes_nothing():
    mine = PLAIN.clone()
    prompts = prompt_tokens(mine, **GIVEN)
    mine.zero_()
    assert torch.equal(prompts.as_subclass(torch.Tensor), PLAIN)


def test_some_of_the_prompts():
    some = prompt_tokens(PLAIN, **GIVEN).rows(slice(1, 3))
    assert torch.equal(some.as_subclass(torch.Tensor), PLAIN[1:])
    assert some.lengths.tolist() == [4, 5]
    assert some.positions["end"].tolist() == [3, 4]
    assert some.groups == ("b", "a")
    prompts = prompt_tokens(PLAIN, **GIVEN)
    assert prompts.moved_to("cpu") is prompts


def test_real_tokens():
    expected = [[True] * length + [False] * (6 - length) for length in (6, 4, 5)]
    assert real_tokens(prompt_tokens(PLAIN, **GIVEN)).tolist() == expected
    assert real_tokens(PLAIN).all()
    assert prompt_tokens(PLAIN).lengths.tolist() == [6, 6, 6]
    assert prompt_tokens(PLAIN).groups == ("all",) * 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lengths": torch.tensor([6, 0, 5])}, "3 numbers from 1 to 6"),
        ({"lengths": torch.tensor([7, 4, 5])}, "3 numbers from 1 to 6"),
        ({"groups": ["a"]}, "1 groups were given for 3 prompts"),
        ({"positions": {"end": torch.tensor([5, 4, 4])}}, "position 'end' must be one index a prompt, inside"),
        ({"positions": {"S": torch.tensor([0, -1, 0])}}, "position 'S'"),
    ],
)
def test_parts_that_do_not_fit(change, message):
    with pytest.raises(ValueError, match=message):
        prompt_tokens(PLAIN, **(copy.copy(GIVEN) | change))
