"""One layer's attention at a time, and nothing after the last layer asked for."""

from __future__ import annotations

import weakref

import pytest
import torch

import interp
from interp.errors import InputError
from interp.heads.reducing import reduce_patterns
from tests.tiny_models import random_tokens, tiny


@pytest.mark.parametrize("name", ["gpt2", "llama", "native"])
def test_patterns_of_earlier_layers_are_gone(name: str) -> None:
    seen: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []

    def reduce(pattern: torch.Tensor, layer: int, rows: slice) -> torch.Tensor:
        alive.append(sum(reference() is not None for reference in seen))
        seen.append(weakref.ref(pattern))
        return pattern.sum((-1, -2))

    reduce_patterns(tiny(name), random_tokens(2, 6), reduce, layers=range(3))
    assert alive == [0, 0, 0]


def test_layers_and_rows_are_told_and_joined() -> None:
    told: list[tuple[int, slice]] = []

    def reduce(pattern: torch.Tensor, layer: int, rows: slice) -> torch.Tensor:
        told.append((layer, rows))
        return pattern[:, 0, -1]

    model, tokens = tiny("llama"), random_tokens(3, 6)
    found = reduce_patterns(model, tokens, reduce, layers=[2, 0], batch_size=2)
    assert told == [(0, slice(0, 2)), (2, slice(0, 2)), (0, slice(2, 3)), (2, slice(2, 3))]
    _, cache = model.run_with_cache(tokens)
    assert list(found) == [2, 0]
    torch.testing.assert_close(found[2], cache["pattern", 2][:, 0, -1], atol=1e-5, rtol=1e-4)


def test_nothing_runs_after_the_last_layer() -> None:
    model = tiny("llama")
    reached: list[int] = []
    hook = interp.hooks.sites.hook_point(model, interp.sites.pattern(2)).add_hook(lambda *_, **__: reached.append(2))
    try:
        reduce_patterns(model, random_tokens(1, 5), lambda pattern, *_: pattern, layers=[1])
    finally:
        hook.hook.remove()
        interp.hooks.sites.hook_point(model, interp.sites.pattern(2)).fwd_hooks.remove(hook)
    assert not reached


def test_interventions_are_seen() -> None:
    model, tokens = tiny("llama"), random_tokens(1, 5)
    cut = interp.knock_out_attention(1, queries=[4], keys=[0], heads=[2])
    with interp.intervene(model, cut):
        found = reduce_patterns(model, tokens, lambda pattern, *_: pattern[:, 2, 4], layers=[1])
    assert found[1][0, 0] < 1e-6


def test_a_layer_that_does_not_exist() -> None:
    with pytest.raises(InputError, match="layer 9"):
        reduce_patterns(tiny("llama"), random_tokens(1, 5), lambda pattern, *_: pattern, layers=[9])
