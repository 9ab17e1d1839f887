from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from interp.results import Axis, Plot, Provenance, Result, Values

TOKENS = ["When", " Mary", " and", " John", " met", ",", " Mary", " gave"]
HOSTILE = [" </script><b>x", "<img src=x onerror=alert(1)>", "<!--", "&amp;", "<|im_start|>", "a\n", '"\\', " the"]


@pytest.fixture
def make() -> Callable[..., Result]:
    """A result of named values with the given plots, everything else made up."""

    def build(values: dict[str, Values], *plots: Plot, **other: object) -> Result:
        provenance = Provenance(
            model={"id": "made/up", "dtype": "float32", "device": "cpu"},
            task={"name": "ioi", "n": 8},
            seed=3,
            environment={"packages": {"torch": "2.13.0"}, "commit": "0123456789abcdef"},
            started="2026-01-01T00:00:00+00:00",
            ended="2026-01-01T00:00:01+00:00",
        )
        return Result(values=values, settings={"steps": 5}, provenance=provenance, plots=plots, **other)  # type: ignore[arg-type]

    return build


def numbers(*sizes: int, seed: int = 0) -> torch.Tensor:
    """Standard normal numbers that are the same every time."""
    return torch.randn(*sizes, generator=torch.Generator().manual_seed(seed))


def causal(n_heads: int, n_tokens: int) -> torch.Tensor:
    """Attention patterns [head, query, key]: rows sum to 1, nothing looks ahead."""
    future = torch.triu(torch.ones(n_tokens, n_tokens, dtype=torch.bool), 1)
    return numbers(n_heads, n_tokens, n_tokens).masked_fill(future, float("-inf")).softmax(-1)


def values(data: torch.Tensor, unit: str = "", **axes: int | list[str] | list[int]) -> Values:
    """Values whose axes are given as name=size or name=labels."""
    made = (
        Axis(name, tuple(range(labels)) if isinstance(labels, int) else tuple(labels)) for name, labels in axes.items()
    )
    return Values(data, tuple(made), unit=unit)


@pytest.fixture
def attention(make: Callable[..., Result]) -> Result:
    """Four heads on one prompt whose tokens try to break the page."""
    data = values(causal(4, 8)[None], "attention", example=1, head=4, query=8, key=8)
    plot = Plot("attention", "pattern", title="Attention", caption="Where heads look.")
    return make({"pattern": data}, plot, texts={"tokens": [HOSTILE]})


@pytest.fixture
def text(make: Callable[..., Result]) -> Result:
    """One value per token of two prompts, the second shorter."""
    data = values(numbers(2, 8), "nats", example=2, position=8)
    return make({"loss": data}, Plot("text", "loss", title="Loss"), texts={"tokens": [HOSTILE, TOKENS[:5]]})


@pytest.fixture
def heatmap(make: Callable[..., Result]) -> Result:
    """A map over layers and tokens that repeat, with bounds."""
    data = numbers(3, 8)
    axes = {"layer": 3, "position": TOKENS}
    named = {
        "effect": values(data, "logit difference", **axes),
        "low": values(data - 0.5, **axes),
        "high": values(data + 0.25, **axes),
    }
    plot = Plot(
        "heatmap", "effect", x="position", y="layer", low="low", high="high", title="Effects", caption="A map.",
        caveat="Made up.", options={"zero_centred": True},
    )  # fmt: skip
    return make(named, plot)
