"""Random prompt pairs for the tiny models."""

from __future__ import annotations

import torch
from torch import Tensor

from interp.tasks import PromptPairs, from_tokens
from tests.tiny_models import random_tokens


def pairs(n: int = 3, n_pos: int = 9, first: int = 2, seed: int = 0) -> PromptPairs:
    """Random prompts of different lengths whose corruption starts at position `first`."""
    clean, corrupt = random_tokens(n, n_pos, seed), random_tokens(n, n_pos, seed + 1)
    corrupt[:, :first] = clean[:, :first]
    lengths = torch.tensor([n_pos - i % 3 for i in range(n)])
    answers = random_tokens(n, 2, seed + 2)
    positions = {"mid": torch.full((n,), 3)}
    return from_tokens(
        clean, corrupt, answers[:, :1], answers[:, 1:], lengths=lengths, corrupt_lengths=lengths, positions=positions
    )


def all_roles(task: PromptPairs, n: int) -> PromptPairs:
    """The task's first n tokens, every position a role."""
    roles = {f"p{i}": torch.full((len(task),), i) for i in range(n)}
    clean, corrupt = (tokens.as_subclass(Tensor)[:, :n] for tokens in (task.clean, task.corrupt))
    return from_tokens(clean, corrupt, task.answers, task.distractors, positions=roles)
