"""Learned masks: what is drawn has the stated distribution, gradients estimate what they should, circuits are found."""

from __future__ import annotations

import math

import pytest
import torch

from interp.circuits import Graph, score_edges
from interp.circuits.ground_truth import auroc
from interp.circuits.scoring.edge_pruning import hard_concrete, open_probability
from interp.circuits.scoring.uniform_gradient_sampling import partly_kept
from interp.errors import InputError
from interp.models import load_model
from interp.models.toy import toy_module
from interp.tasks import for_toy

N_DRAWS = 200_000


def uniform(n: int) -> torch.Tensor:
    return torch.rand(N_DRAWS, n, generator=torch.Generator().manual_seed(0)).clamp(1e-6, 1 - 1e-6)


def test_hard_concrete_gates_are_open_as_often_as_said() -> None:
    logits = torch.tensor([-3.0, -0.5, 0.0, 2.0])
    gates = hard_concrete(logits, uniform(4))
    assert gates.min() == 0
    assert gates.max() == 1
    torch.testing.assert_close((gates > 0).float().mean(0), open_probability(logits), atol=5e-3, rtol=0)
    # Open all the way is as likely as shut is for the opposite logit.
    torch.testing.assert_close((gates == 1).float().mean(0), 1 - open_probability(-logits), atol=5e-3, rtol=0)


def test_uniform_sampling_keeps_an_edge_as_often_as_said() -> None:
    kept = torch.tensor([0.1, 0.5, 0.9])
    masks = partly_kept(kept, uniform(3))
    torch.testing.assert_close(masks.mean(0), kept, atol=5e-3, rtol=0)
    partly = ((masks > 0) & (masks < 1)).float().mean(0)
    torch.testing.assert_close(partly, kept * (1 - kept), atol=5e-3, rtol=0)


def test_the_gradient_is_what_an_edge_is_worth_however_curved_the_loss() -> None:
    kept = torch.tensor([0.3, 0.6], requires_grad=True)

    def loss(masks: torch.Tensor) -> torch.Tensor:
        # Flat at both ends, where a gradient at the run itself would see nothing.
        return 5 * (1 - (math.pi * masks[:, 0]).cos()) / 2 * (1 + masks[:, 1])

    loss(partly_kept(kept, uniform(2))).mean().backward()
    # 5 (1 + E m1) and 5 E((1 - cos π m0) / 2), the mean of m0's smooth step being 0.3 by symmetry about its window.
    assert kept.grad is not None
    assert float(kept.grad[0]) == pytest.approx(5 * 1.6, rel=0.02)
    assert float(kept.grad[1]) == pytest.approx(5 * 0.3, rel=0.02)


def test_nothing_breaks_where_an_edge_is_certain() -> None:
    logits = torch.tensor([60.0, -60.0], requires_grad=True)
    masks = partly_kept(logits.sigmoid(), uniform(2)[:100])
    masks.sum().backward()
    torch.testing.assert_close(masks.mean(0), torch.tensor([1.0, 0.0]), atol=1e-3, rtol=0)
    assert logits.grad is not None
    assert bool(logits.grad.isfinite().all())


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("ugs", {"n_steps": 80, "learning_rate": 0.3}),
        ("edge-pruning", {"n_steps": 80, "learning_rate": 0.5, "target": 6}),
    ],
)
def test_masks_find_the_circuit_behind_saturated_attention(method: str, options: dict[str, float]) -> None:
    model = load_model("toy/negative")
    task, graph = for_toy(model, n=4, seed=0), Graph.of(model)
    truth = toy_module("toy/negative").TRUTH
    scored = score_edges(model, task, method, **options)
    index = torch.tensor([graph.edge_index(edge) for edge in truth.edges])
    known = torch.tensor([edge in truth.in_a_circuit for edge in truth.edges])
    assert auroc(scored.score[index[:, 0], index[:, 1]], known) > 0.95
    assert scored.values["score"].unit == "probability"
    assert "std" not in scored.values
    assert scored.values["score"].data.nan_to_num().min() >= 0
    assert scored.settings["loss"] == "kl"
    assert scored.settings["n_steps"] == 80
    again = score_edges(model, task, method, **(options | {"n_steps": 2}))
    assert again.equal(score_edges(model, task, method, **(options | {"n_steps": 2})))


def test_what_trains_nothing_is_refused() -> None:
    model = load_model("toy/and")
    task = for_toy(model, n=2, seed=0)
    refused = [
        ("ugs", {"n_steps": 0}, "at least one step"),
        ("ugs", {"price": 0.0}, "above 0"),
        ("ugs", {"loss": "metric"}, "no loss 'metric'"),
        ("edge-pruning", {"learning_rate": 0.0}, "positive learning rate"),
        ("edge-pruning", {"target": 47}, "a number from 1 to 46"),
        ("edge-pruning", {"at": "corrupt"}, "at='clean'"),
        ("ugs", {"keep_examples": True}, "leave keep_examples out"),
        ("ugs", {"prize": 1.0}, "did you mean 'price'"),
    ]
    for method, options, message in refused:
        with pytest.raises(InputError, match=message):
            score_edges(model, task, method, **options)
