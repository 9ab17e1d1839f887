"""A training of few tokens: its steps stay small, and no layer ends worse than it began."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from interp.errors import InputError
from interp.lens import LensTraining, train_tuned_lens
from interp.lens.tuned_checks import HeldOut, held_apart, is_checked
from interp.lens.tuned_coordinates import measure_coordinates
from interp.lens.tuned_divergence import Unembedding
from interp.lens.tuned_streams import streams_at
from tests.tiny_models import random_tokens, tiny

POOR = LensTraining(n_steps=6, context=9, contexts=2, positions=4, vocabulary=50, measured=2)


def test_streams_not_seen_are_whitened_even_by_fewer_tokens_than_directions() -> None:
    model = tiny("llama")
    coordinates, *_ = measure_coordinates(model, random_tokens(2, 9))
    other = random_tokens(16, 9, seed=7)
    streams = streams_at(model, other, torch.arange(1, 9).expand(16, -1)).flatten(1, 2)
    for layer in range(model.cfg.n_layers):
        assert 0.3 < float(coordinates.inputs(streams[layer], layer).square().mean()) < 3


@pytest.mark.parametrize("rate", [1e-3, 1.0])
def test_no_layer_is_worse_on_held_out_tokens_than_no_translator(rate: float) -> None:
    model, tokens = tiny("llama"), random_tokens(16, 9)
    settings = replace(POOR, learning_rate=rate)
    lens = train_tuned_lens(model, tokens, settings)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    _, apart = held_apart(tokens[order], settings.checked)
    held = HeldOut.of(model, Unembedding.of(model), apart, 0)
    zeros = torch.zeros(4, 48, 48), torch.zeros(4, 48)
    coordinates, *_ = measure_coordinates(model, tokens)
    before = held.losses(coordinates, *zeros)
    torch.testing.assert_close(before, torch.tensor(lens.training["identity_kl"]))
    moved = torch.stack([lens(held.streams[layer], layer) for layer in range(4)])
    log_p = held.head.logits(held.target.normed).log_softmax(-1)
    for layer in range(4):
        log_q = held.head.logits(held.head.normed(moved[layer])).log_softmax(-1)
        kl = float((log_p.exp() * (log_p - log_q)).sum(-1).mean())
        assert kl <= float(before[layer]) + 1e-4
        assert kl == pytest.approx(lens.training["held_out"][-1][layer + 1], abs=1e-3), "the lens kept is the best one"
    rows = torch.tensor(lens.training["held_out"])
    assert rows[:, 0].tolist() == [0, 1, 2, 4, 6]
    assert bool((rows[1:, 1:] <= rows[:-1, 1:]).all())
    if rate == 1.0:
        assert set(lens.training["kept_steps"]) == {0}, "steps so large are never kept"


def test_a_layer_that_became_worse_goes_back_with_half_the_rate() -> None:
    model, tokens = tiny("llama"), random_tokens(16, 9)
    held = HeldOut.of(model, Unembedding.of(model), tokens[:4], 0)
    state = held.begin(*measure_coordinates(model, tokens[4:]))
    state.step = 3
    state.mixing[1] += 5.0
    state.shift[2] = float("nan")
    state.first[0][1] = 1.0
    before = state.best[0][1].clone(), state.best[1][2].clone()
    held.check(state)
    assert torch.equal(state.mixing[1], before[0])
    assert torch.equal(state.shift[2], before[1])
    assert state.rates.tolist() == [1, 0.5, 0.5, 1]
    assert state.since.tolist() == [0, 3, 3, 0]
    assert not state.first[0][1].any()


def test_contexts_are_held_out_and_never_more_than_a_quarter() -> None:
    tokens = random_tokens(20, 5)
    training, apart = held_apart(tokens, 8)
    assert (len(training), len(apart)) == (15, 5)
    assert torch.equal(torch.cat([training, apart]), tokens)
    assert [len(part) for part in held_apart(tokens[:2], 8)] == [1, 1]
    with pytest.raises(InputError, match="make one context"):
        held_apart(tokens[:1], 8)


def test_checks_come_often_at_first() -> None:
    assert [step for step in range(1, 101) if is_checked(step, 100)] == [1, 2, 4, 8, 16, 32, 64, 96, 100]


def test_too_few_tokens_are_said_with_the_option(caplog: pytest.LogCaptureFixture) -> None:
    train_tuned_lens(tiny("llama"), random_tokens(16, 9), replace(POOR, n_steps=0))
    assert "measured on 16 tokens, and a stream has 48 directions" in caplog.text
    assert "measured=6 (--measured 6)" in caplog.text
    caplog.clear()
    train_tuned_lens(tiny("llama"), random_tokens(16, 9), replace(POOR, n_steps=0, measured=6))
    assert "directions" not in caplog.text
