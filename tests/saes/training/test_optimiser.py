"""The optimiser against Adam and clipping as PyTorch has them."""

from __future__ import annotations

import pytest
import torch

from saes.training.optimiser import Adam, Optimiser


@pytest.mark.parametrize("clip", [0.0, 0.5, 1e6])
def test_clipping_folded_into_the_update(clip: float) -> None:
    generator = torch.Generator().manual_seed(0)
    ours = {"a": torch.nn.Parameter(torch.ones(3, 4)), "threshold": torch.nn.Parameter(torch.ones(5))}
    theirs = {name: torch.nn.Parameter(p.detach().clone()) for name, p in ours.items()}
    optimiser = Optimiser(ours, Adam(clip=clip, threshold_lr=10.0))
    groups = [{"params": [theirs["a"]], "lr": 1e-2}, {"params": [theirs["threshold"]], "lr": 1e-1}]
    adam = torch.optim.Adam(groups)
    for _ in range(5):
        gradients = {name: torch.randn(p.shape, generator=generator) for name, p in ours.items()}
        for name, p in theirs.items():
            p.grad = gradients[name].clone()
        if clip:
            torch.nn.utils.clip_grad_norm_(list(theirs.values()), clip)
        adam.step()
        optimiser.step(gradients, 1e-2)
    for name, p in ours.items():
        torch.testing.assert_close(p.detach(), theirs[name].detach())


def test_a_restored_state_goes_on_to_the_bit() -> None:
    def fresh() -> tuple[dict[str, torch.nn.Parameter], Optimiser]:
        parameters = {"a": torch.nn.Parameter(torch.ones(30, 4))}
        return parameters, Optimiser(parameters, Adam())

    gradients = [torch.randn(30, 4, generator=torch.Generator().manual_seed(i)) for i in range(6)]
    whole, optimiser = fresh()
    for gradient in gradients:
        optimiser.step({"a": gradient.clone()}, 1e-2)
    first, before = fresh()
    for gradient in gradients[:3]:
        before.step({"a": gradient.clone()}, 1e-2)
    second, after = fresh()
    with torch.no_grad():
        second["a"].copy_(first["a"])
    after.restore({name: tensor.clone() for name, tensor in before.tensors().items()})
    for gradient in gradients[3:]:
        after.step({"a": gradient.clone()}, 1e-2)
    assert torch.equal(second["a"], whole["a"])
