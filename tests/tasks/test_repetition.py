"""Random repetition: the order, and nothing else, tells the answer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from interp.errors import InputError
from interp.hooks.prompts import PromptTokens
from interp.models.toy import toy_module
from interp.tasks import induction, repeated_random_tokens
from tests.tasks.conftest import tiny_model


@pytest.fixture(scope="module")
def bare_model() -> Any:
    return tiny_model(None, d_vocab=40)


@pytest.mark.parametrize("prepend_bos", [False, True])
@pytest.mark.parametrize("n_repeats", [2, 3])
def test_prompts_and_roles(word_model: Any, prepend_bos: bool, n_repeats: int) -> None:
    n, length = 5, 6
    task = induction(word_model, n=n, length=length, prepend_bos=prepend_bos, n_repeats=n_repeats)
    start = int(prepend_bos)
    assert task.prepend_bos is prepend_bos
    assert task.equal_lengths
    for i in range(n):
        clean, corrupt = task.clean[i].tolist()[start:], task.corrupt[i].tolist()[start:]
        repeated, redrawn = clean[:length], corrupt[:length]
        assert clean == repeated * n_repeats
        assert corrupt == redrawn * (n_repeats - 1) + repeated
        assert len({*repeated, *redrawn}) == 2 * length
        a1, b1, end = (int(task.positions[role][i]) for role in ("A1", "B1", "end"))
        assert b1 == a1 + 1
        assert end == start + n_repeats * length - 1
        assert task.clean[i, a1] == task.clean[i, end]
        assert task.corrupt[i, a1] != task.corrupt[i, end]
        assert int(task.answers[i, 0]) == int(task.clean[i, b1]) == repeated[0]
        # The distractor is as frequent as the answer in both prompts.
        distractor = int(task.distractors[i, 0])
        assert distractor in repeated[1:-1]
        assert clean.count(distractor) == clean.count(repeated[0])
        assert corrupt.count(distractor) == corrupt.count(repeated[0])
    special = set(word_model.tokenizer.all_special_ids)
    assert not special & set(task.clean[:, start:].flatten().tolist())
    if prepend_bos:
        assert set(task.clean[:, 0].tolist()) == {word_model.tokenizer.bos_token_id}


def test_hand_built_induction_model_solves_it() -> None:
    """The toy's own vocabulary has BOS 0; its circuit completes the clean prompt and not the corrupt one."""
    model = toy_module("induction").build()
    task = induction(model, n=8, length=4, seed=1)
    with torch.no_grad():
        clean, corrupt = (
            task.metric(model(task.clean.as_subclass(Tensor))),
            task.metric(model(task.corrupt.as_subclass(Tensor))),
        )
    assert (clean > 5).float().mean() > 0.8
    assert corrupt.abs().mean() < clean.mean() / 2


def test_seeds_and_global_state(bare_model: Any) -> None:
    state = torch.random.get_rng_state()
    a, b, c = (induction(bare_model, n=3, length=5, seed=seed).describe()["sha256"] for seed in (0, 0, 1))
    assert a == b != c
    tokens = [repeated_random_tokens(bare_model, n=3, length=5, seed=seed).tolist() for seed in (0, 0, 1)]
    assert tokens[0] == tokens[1] != tokens[2]
    assert torch.equal(state, torch.random.get_rng_state())


def test_random_tokens_repeat(word_model: Any) -> None:
    tokens = repeated_random_tokens(word_model, n=4, length=7, prepend_bos=True, n_repeats=3)
    assert isinstance(tokens, PromptTokens)
    assert tokens.shape == (4, 22)
    body = tokens[:, 1:].unflatten(1, (3, 7))
    assert bool((body == body[:, :1]).all())
    special = set(word_model.tokenizer.all_special_ids)
    assert not special & set(body.flatten().tolist())
    assert set(tokens[:, 0].tolist()) == {word_model.tokenizer.bos_token_id}


@pytest.mark.parametrize("make", [induction, repeated_random_tokens])
def test_refusals(bare_model: Any, make: Any) -> None:
    with pytest.raises(InputError, match="model takes 64; use length=32 or less"):
        make(bare_model, length=33)
    with pytest.raises(InputError, match="make no repetition"):
        make(bare_model, n=0, length=5)
    with pytest.raises(InputError, match="make no repetition"):
        make(bare_model, length=5, n_repeats=1)
    with pytest.raises(InputError, match="no tokenizer"):
        make(bare_model, length=5, prepend_bos=True)


def test_vocabulary_too_small_for_distinct_tokens(bare_model: Any) -> None:
    with pytest.raises(InputError, match="use length=20 or less"):
        induction(bare_model, length=21)
    assert len(induction(bare_model, n=2, length=20)) == 2
