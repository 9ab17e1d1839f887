"""Announced memory against what PyTorch's profiler counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from interp.circuits import Graph, memory_plan, score_edges
from interp.circuits.kept_tokens import kept_tokens
from interp.errors import InputError
from interp.tasks import PromptPairs, from_tokens
from tests.tiny_models import TINY, random_tokens, tiny

SMALL = 8 * 2**20


def pairs(n: int, n_pos: int, first: int = 0) -> PromptPairs:
    """Random pairs that differ from position `first` on."""
    clean, corrupt, answers = random_tokens(n, n_pos), random_tokens(n, n_pos, 1), random_tokens(n, 2, 2)
    corrupt[:, :first] = clean[:, :first]
    return from_tokens(clean, corrupt, answers[:, :1], answers[:, 1:])


def most_allocated(work: Callable[[], Any]) -> int:
    """The most bytes that tensors made inside `work` take at once."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiled:
        work()
    events = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    alive = least = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        alive += event.nbytes()
        least = min(least, alive)  # tensors from before may be freed inside
        most = max(most, alive - least)
    return most


ANNOUNCED = [(name, *how) for name in TINY for how in (("eap", 1, 2**31), ("eap-ig", 3, SMALL))]
FAST = ("gpt2", "gemma2", "native-attention-only")


@pytest.mark.parametrize(
    ("name", "method", "steps", "budget"),
    [pytest.param(*case, marks=() if case[0] in FAST else pytest.mark.slow) for case in ANNOUNCED],
)
def test_no_more_is_allocated_than_announced(name: str, method: str, steps: int, budget: int) -> None:
    model, task = tiny(name), pairs(8, 60)
    graph = Graph.of(model)
    plan = memory_plan(model, task, graph, steps=steps, memory_budget=budget)
    peak = most_allocated(lambda: score_edges(model, task, method, steps=steps, graph=graph, memory_budget=budget))
    assert plan.bytes <= budget
    assert peak <= plan.bytes
    # An announcement far above the truth would be worth nothing.
    assert peak > 0.3 * plan.bytes


@pytest.mark.parametrize(
    ("method", "asked"), [("eap-qk-fix", {"patterns": True}), ("eap-ig-activations", {"steps": 2})]
)
@pytest.mark.parametrize("name", ["gpt2", pytest.param("gemma2", marks=pytest.mark.slow)])
def test_a_budget_is_kept(name: str, method: str, asked: dict[str, Any]) -> None:
    model, task = tiny(name), pairs(4, 60)
    graph = Graph.of(model)
    assert memory_plan(model, task, graph, memory_budget=SMALL, **asked).bytes <= SMALL
    steps = asked.get("steps", 1)
    peak = most_allocated(lambda: score_edges(model, task, method, steps=steps, graph=graph, memory_budget=SMALL))
    assert peak <= SMALL


def test_a_small_budget_means_smaller_pieces() -> None:
    model, task = tiny("gpt2"), pairs(8, 60)
    graph = Graph.of(model)
    large, small = (memory_plan(model, task, graph, steps=5, memory_budget=budget) for budget in (2**31, SMALL))
    assert (large.prompts, large.runs) == (8, 5)
    assert small.prompts * small.runs < 8
    chosen = memory_plan(model, task, graph, batch_size=2, memory_budget=2**31)
    assert chosen.prompts == 2
    assert "2 prompts a pass" in str(chosen)
    with pytest.raises(InputError, match="takes at least"):
        memory_plan(model, task, graph, memory_budget=2**16)
    with pytest.raises(InputError, match="smaller batch_size"):
        memory_plan(model, task, graph, batch_size=8, memory_budget=SMALL)


def test_tokens_that_cannot_matter_are_dropped() -> None:
    graph = Graph.of(tiny("gpt2"))
    task = pairs(3, 12, first=5)
    kept = kept_tokens(task, graph, "clean")
    assert len(kept) == 3 * 7
    assert int(kept.own.at.min()) == 5
    early = from_tokens(
        *(side.as_subclass(torch.Tensor) for side in (task.clean, task.corrupt)),
        task.answers,
        task.distractors,
        positions={"end": [8, 9, 3]},
    )
    kept = kept_tokens(early, graph, "corrupt")
    assert kept.sign == -1.0
    assert kept.own.tokens.shape == (3, 10)
    # The third prompt is read before anything has changed.
    assert kept.rows.tolist() == [0] * 4 + [1] * 5
    assert [(part.example, part.start, part.stop) for part in kept.segments] == [(0, 0, 4), (1, 4, 9)]
