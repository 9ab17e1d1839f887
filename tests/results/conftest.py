from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TypeVar

import pytest
import torch

from interp.results import Axis, Plot, Provenance, Result, Values, mean_with_interval

T = TypeVar("T")

EXAMPLES, LAYERS, HEADS = 6, 3, 2


@pytest.fixture
def provenance() -> Provenance:
    return Provenance(
        model={"id": "toy/induction"},
        task={"name": "induction", "n": 6},
        seed=0,
        environment={"torch": "2.13"},
        started="2026-01-01T00:00:00+00:00",
        ended="2026-01-01T00:00:01+00:00",
    )


@pytest.fixture
def make(provenance: Provenance) -> Callable[..., Result]:
    """A plain result of the given values, with everything else filled in."""

    def build(values: dict[str, Values], **other: object) -> Result:
        return Result(values=values, **{"settings": {}, "provenance": provenance, **other})

    return build


@pytest.fixture
def per_example() -> Values:
    data = torch.randn(EXAMPLES, LAYERS, HEADS, generator=torch.Generator().manual_seed(0))
    axes = (axis("example", EXAMPLES), axis("layer", LAYERS), axis("head", HEADS))
    return Values(data, axes, unit="logit difference")


@pytest.fixture
def result(per_example: Values, make: Callable[..., Result]) -> Result:
    """What a sweep over heads gives: mean, interval, every example, a baseline, and a heatmap."""
    baseline = Values(torch.tensor(4.5), (), unit="logit difference")
    plot = Plot("heatmap", "mean", x="head", y="layer", low="low", high="high", title="heads")
    return make(
        {**mean_with_interval(per_example), "each": per_example, "baseline": baseline},
        settings={"over": "z", "by": ["layer", "head"]},
        plots=(plot,),
        texts={"tokens": [["a", f"Ġé{i}"] for i in range(EXAMPLES)], "title": "x"},
    )


def unchecked(function: Callable[..., T]) -> Callable[..., T]:
    """A function or class as users call it: pytest's type checks would refuse a wrong argument before we can."""
    if not isinstance(function, type):
        return inspect.unwrap(function)

    def construct(*args: object, **kwargs: object) -> T:
        made = object.__new__(function)
        inspect.unwrap(function.__init__)(made, *args, **kwargs)
        return made

    return construct


def axis(name: str, size: int) -> Axis:
    return Axis(name, tuple(range(size)))
