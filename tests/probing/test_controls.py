"""Control labels belong to word types; shuffles keep the counts; a random twin is random and of the same size."""

from __future__ import annotations

import torch

from interp.models.untrained import random_twin
from interp.probing.controls import control_labels, share_seen, shuffled_labels
from tests.tiny_models import random_tokens, tiny


def test_every_type_has_one_class_drawn_like_the_tasks() -> None:
    generator = torch.Generator().manual_seed(0)
    kinds = torch.randint(0, 400, (4000,), generator=generator)
    labels = (torch.rand(4000, generator=generator) < 0.25).long()
    types = [f"w{kind}" for kind in kinds.tolist()]
    control, reason = control_labels(labels, types, torch.arange(4000) % 4, seed=0)
    assert reason == ""
    for kind in range(400):
        assert len(control[kinds == kind].unique()) <= 1
    assert 0.15 < float(control.float().mean()) < 0.35
    agreement = float((control == labels).float().mean())
    assert 0.5 < agreement < 0.75  # no more than chance
    again, _ = control_labels(labels, types, torch.arange(4000) % 4, seed=0)
    assert torch.equal(control, again)


def test_reasons_for_no_control_task() -> None:
    labels, folds = torch.arange(100) % 2, torch.arange(100) % 4
    assert "3 word types are too few" in control_labels(labels, [f"w{i % 3}" for i in range(100)], folds, 0)[1]
    mostly = ["the"] * 60 + [f"w{i}" for i in range(40)]
    assert "one word type has 60%" in control_labels(labels, mostly, folds, 0)[1]
    apart = [f"w{i // 10}-{i % 4}" for i in range(100)]  # never in two folds
    assert "training saw the word types of 0%" in control_labels(labels, apart, folds, 0)[1]


def test_share_of_types_that_training_saw() -> None:
    assert share_seen(["a", "a", "b", "c"], torch.tensor([0, 1, 0, 0])) == 0.5


def test_shuffles_keep_the_counts_and_differ() -> None:
    labels = torch.arange(50) % 3
    shuffled = shuffled_labels(labels, 4, seed=0)
    assert shuffled.shape == (4, 50)
    assert all(torch.equal(row.bincount(), labels.bincount()) for row in shuffled)
    assert len({tuple(row.tolist()) for row in shuffled}) == 4
    assert shuffled_labels(labels, 0, seed=0).shape == (0, 50)


def test_a_random_twin_has_other_matrices_of_the_same_spread_and_the_same_vectors() -> None:
    model = tiny("llama")
    before = {name: weight.clone() for name, weight in model.original_model.named_parameters()}
    twin = random_twin(model, seed=0)
    for name, weight in twin.original_model.named_parameters():
        if weight.ndim < 2:
            assert torch.equal(weight, before[name])
        else:
            overlap = torch.corrcoef(torch.stack([weight.flatten(), before[name].flatten()]))[0, 1]
            assert abs(float(overlap)) < 0.2
            torch.testing.assert_close(weight.std(), before[name].std(), rtol=0.1, atol=0)
    assert all(torch.equal(weight, before[name]) for name, weight in model.original_model.named_parameters())
    tokens = random_tokens()
    assert not torch.allclose(model(tokens), twin(tokens))
    assert torch.equal(random_twin(model, seed=0)(tokens), twin(tokens))
