"""What holds for every task made of templates, and how to read its tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from interp.tasks import PromptPairs


def at(task: PromptPairs, role: str, *, corrupt: bool = False) -> list[str]:
    """The token at a role in every prompt, as text."""
    tokens, positions = (task.corrupt, task.corrupt_positions) if corrupt else (task.clean, task.positions)
    return [task.tokenizer.decode([int(tokens[i, int(positions[role][i])])]) for i in range(len(task))]


def sets(task: PromptPairs, which: str = "answers") -> list[list[str]]:
    """The answers (or distractors) of every pair, as texts."""
    return [[task.tokenizer.decode([t]) for t in row if t >= 0] for row in getattr(task, which).tolist()]


def ids_of(task: PromptPairs, row: int, *, corrupt: bool = False) -> list[int]:
    """The tokens of a prompt without BOS and pads."""
    tokens, lengths = (task.corrupt, task.corrupt_lengths) if corrupt else (task.clean, task.lengths)
    return tokens[row, int(task.prepend_bos) : int(lengths[row])].tolist()


def same_text(task: PromptPairs, row: int, text: str, *, corrupt: bool = False) -> bool:
    """Whether a prompt is exactly this text, in one piece, with BOS first if and only if the task says so."""
    begins = int(task.clean[row, 0]) == task.tokenizer.bos_token_id
    expected = task.tokenizer(text, add_special_tokens=False)["input_ids"]
    return begins == task.prepend_bos and ids_of(task, row, corrupt=corrupt) == expected


def check_lined_up(task: PromptPairs, changed: tuple[str, ...]) -> None:
    """Equal lengths and positions, different only at roles `changed`, answers apart from distractors."""
    assert task.aligned
    assert all(torch.equal(index, task.corrupt_positions[role]) for role, index in task.positions.items())
    assert bool((task.positions["end"] == task.lengths - 1).all())
    for i in range(len(task)):
        clean, corrupt = (ids_of(task, i, corrupt=side) for side in (False, True))
        differ = [j + int(task.prepend_bos) for j, (a, b) in enumerate(zip(clean, corrupt)) if a != b]
        assert differ
        assert set(differ) <= {int(task.positions[role][i]) for role in changed}
        answers, distractors = ({t for t in row[i].tolist() if t >= 0} for row in (task.answers, task.distractors))
        assert answers
        assert distractors
        assert not answers & distractors


def check_seeds(make: Callable[..., PromptPairs], model: Any) -> None:
    """The same seed gives the same task, another one another, and the global generator is left alone."""
    state = torch.random.get_rng_state()
    a, b, c = (make(model, n=12, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(state, torch.random.get_rng_state())
    assert a.describe() == b.describe()
    assert a.describe()["sha256"] != c.describe()["sha256"]
    # A longer task begins with the shorter one.
    longer = make(model, n=20, seed=1)
    assert longer.texts()["clean"][:12] == a.texts()["clean"]
