"""Gradients at every site, against autograd through models written out in plain torch, and against finite changes."""

from __future__ import annotations

import pytest
import torch

import interp
from interp.hooks import sites
from interp.hooks.readout import Readout
from tests.hooks.watching import all_sites
from tests.oracles.plain_forward import gpt2_logits, llama_logits
from tests.tiny_models import TINY, plain_gpt2, plain_llama, random_tokens, tiny

TOKENS = random_tokens(n_rows=2, n_pos=6, seed=3)
ANSWERS, DISTRACTORS = torch.tensor([10, 20]), torch.tensor([11, 21])
READOUT = Readout(torch.tensor([[5], [5]]), torch.stack([ANSWERS, DISTRACTORS], 1))


def ours(model, wanted):
    """Gradient of the summed logit difference at each site, all taken at once."""
    acts = interp.capture(model, TOKENS, wanted, readout=READOUT, gradients=True)
    metric = (acts.logits[:, 0] - acts.logits[:, 1]).sum()
    return dict(zip(acts, torch.autograd.grad(metric, list(acts.values()), allow_unused=True)))


def by_autograd(logits_of, hf, kind, layer):
    """The same at one site, in a forward pass of its own where that activation is made a leaf."""
    leaf = None

    def edit(k, at, x):
        nonlocal leaf
        if (k, at) != (kind, layer):
            return x
        leaf = x.detach().clone().requires_grad_(True)
        return leaf

    logits = logits_of(hf, TOKENS, edit)[:, -1]
    rows = torch.arange(2)
    metric = (logits[rows, ANSWERS] - logits[rows, DISTRACTORS]).sum()
    return torch.autograd.grad(metric, leaf)[0]


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_equal_to_autograd_through_a_plain_model_at_every_site(name):
    """Also with all sites at once: each gradient is the whole one, through everything that comes after."""
    hf, logits_of = {"llama": (plain_llama(), llama_logits), "gpt2": (plain_gpt2(), gpt2_logits)}[name]
    for site, gradient in ours(tiny(name), all_sites(tiny(name))).items():
        expected = by_autograd(logits_of, hf, site.kind, site.layer)
        assert expected.abs().max() > 0
        size = expected.abs().max().item()
        torch.testing.assert_close(gradient, expected, atol=2e-4 * size, rtol=1e-3, msg=str(site))


@pytest.mark.parametrize("name", TINY)
def test_equal_to_finite_changes_at_every_site(name):
    """Write the activation ± a step along a random direction, as an intervention, and measure."""
    model = tiny(name)
    generator = torch.Generator().manual_seed(0)
    wanted = [site for site in all_sites(model) if site.layer in (None, 1) and "scale" not in site.kind]
    values = interp.capture(model, TOKENS, wanted)
    for site, gradient in ours(model, wanted).items():
        direction = torch.randn(values[site].shape, generator=generator)
        if site.kind in ("scores", "pattern"):
            direction = direction.tril()  # keys that are masked stay masked
        step = 3e-3 * values[site][values[site] > -1e30].abs().mean().clamp(min=0.1)
        measured = (_metric_at(model, site, values[site] + step * direction)
                    - _metric_at(model, site, values[site] - step * direction)) / (2 * step)  # fmt: skip
        predicted = (gradient * direction).sum()
        assert predicted.item() == pytest.approx(measured.item(), rel=3e-2, abs=3e-2), site


@torch.no_grad()
def _metric_at(model, site, value):
    with interp.intervene(model, interp.patch(site, value)):
        logits = model(TOKENS)[:, -1].double()
    rows = torch.arange(2)
    return (logits[rows, ANSWERS] - logits[rows, DISTRACTORS]).sum()


def test_values_and_logits_are_those_of_a_run_without_gradients():
    for name in TINY:
        every = all_sites(tiny(name))
        with_, without = (
            interp.capture(tiny(name), TOKENS, every, readout=READOUT, gradients=g) for g in (True, False)
        )
        torch.testing.assert_close(with_.logits, without.logits, atol=1e-4, rtol=1e-4)
        for site in every:
            torch.testing.assert_close(with_[site], without[site], atol=1e-4, rtol=1e-4)


def test_later_sites_are_functions_of_earlier_ones():
    """d resid_post(3) / d resid_post(1) exists without any readout."""
    acts = interp.capture(tiny("llama"), TOKENS, [sites.resid_post(1), sites.resid_post(3)], gradients=True)
    (gradient,) = torch.autograd.grad(acts[sites.resid_post(3)].sum(), acts[sites.resid_post(1)])
    assert gradient.abs().sum() > 0


def test_parameters_get_no_gradients():
    model = tiny("llama")
    acts = interp.capture(model, TOKENS, sites.embed(), readout=READOUT, gradients=True)
    acts.logits.sum().backward()
    assert all(parameter.grad is None for parameter in model.parameters())
    assert acts[sites.embed()].grad is not None


def test_works_inside_no_grad_and_inside_interventions():
    model = tiny("llama")
    ablation = interp.ablate(sites.z(2), heads=[1])
    with torch.no_grad(), interp.intervene(model, ablation):
        acts = interp.capture(model, TOKENS, [sites.z(2), sites.resid_pre(2)], readout=READOUT, gradients=True)
    (at_stream,) = torch.autograd.grad(acts.logits.sum(), acts[sites.resid_pre(2)])
    assert at_stream.abs().sum() > 0
    assert (acts[sites.z(2)][:, :, 1] == 0).all()
