"""`pack` against trying every division, and the properties it promises."""

from __future__ import annotations

import itertools

import pytest
import torch

from interp.patching.packing import OVERHEAD_TOKENS, pack


def cost(groups, starts, end, rows) -> int:
    return sum(len(group) * rows * (end - min(starts[i] for i in group)) + OVERHEAD_TOKENS for group in groups)


def partitions(items):
    """Every division of a list into groups, in any combination."""
    if not items:
        yield []
        return
    for size in range(len(items)):
        for rest in itertools.combinations(items[1:], size):
            left = [item for item in items[1:] if item not in rest]
            for others in partitions(left):
                yield [[items[0], *rest], *others]


@pytest.mark.parametrize("seed", range(5))
def test_is_the_best_of_all_divisions(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    starts = torch.randint(0, 12, (6,), generator=generator).tolist()
    groups = pack(starts, 12, 4, 10_000)
    assert sorted(i for group in groups for i in group) == list(range(6))
    assert cost(groups, starts, 12, 4) == min(cost(p, starts, 12, 4) for p in partitions(list(range(6))))


def test_respects_the_limit_but_always_runs_a_cell() -> None:
    groups = pack([0, 0, 0, 0], 10, 8, 160)
    assert [len(group) for group in groups] == [2, 2]
    assert pack([0], 10, 8, 5) == [[0]]
    assert pack([], 10, 8, 5) == []
