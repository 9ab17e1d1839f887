"""Measures of dictionaries against closed forms and against the sums written out."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

import saes
from interp.errors import InputError
from interp.hooks.capturing import capture
from interp.hooks.intervening import intervene
from interp.hooks.interventions import patch
from interp.hooks.sites import as_site
from saes.evals.behaviour import Passages, run_intervals, run_measures
from saes.evals.fidelity import Fidelity, fidelity
from saes.evals.findings import at_equal_l0, frontier_finding
from saes.evals.firing import direction_measures, firing_measures, histogram
from tests.saes.architectures.test_folding import activations, configs, trained
from tests.tiny_models import tiny


def identity_dictionary(width: int) -> saes.Dictionary:
    """One that reconstructs everything: every direction and its opposite."""
    d = saes.Standard(width, 2 * width).build().requires_grad_(False)
    eye = torch.eye(width)
    d.decoder.copy_(torch.cat([eye, -eye]))
    d.encoder.copy_(d.decoder)
    return d


def test_fidelity_is_what_its_formulas_say() -> None:
    d, x = trained(configs()[1]), activations()
    out = d(x)
    found = fidelity(d, x, chunk=64).measures()
    error = (x - out.reconstruction).square()
    spread = (x - x.mean(0)).square()
    assert found["explained_variance"] == pytest.approx(float(1 - error.sum() / spread.sum()), abs=1e-5)
    per_dimension = (1 - error.sum(0) / spread.sum(0)).mean()
    assert found["explained_variance_per_dimension"] == pytest.approx(float(per_dimension), rel=1e-4)
    assert found["mse"] == pytest.approx(float(error.sum(1).mean()), rel=1e-5)
    active = (out.latents > 0).sum(1).float()
    assert found["l0"] == pytest.approx(float(active.mean()))
    assert found["l0_sd"] == pytest.approx(float(active.std(correction=0)), abs=1e-5)
    torch.testing.assert_close(fidelity(d, x, chunk=64).firing, (out.latents > 0).float().mean(0))


def test_a_perfect_dictionary_and_an_empty_one() -> None:
    x = activations()
    perfect = fidelity(identity_dictionary(16), x).measures()
    assert perfect["explained_variance"] == pytest.approx(1.0, abs=1e-6)
    assert perfect["cosine"] == pytest.approx(1.0, abs=1e-6)
    silent = saes.TopK(16, 80, k=5).build().requires_grad_(False)
    silent.b_enc.fill_(-1e6)
    silent.b_dec.copy_(x.mean(0))
    # The mean explains nothing, whatever the mean is: variance is about the mean.
    assert fidelity(silent, x).measures()["explained_variance"] == pytest.approx(0.0, abs=1e-5)
    with pytest.raises(InputError, match="no tokens"):
        Fidelity().measures()


def test_firing_and_directions() -> None:
    firing = torch.tensor([0.0, 0.0, 0.5, 1e-3])
    assert firing_measures(firing) == pytest.approx({"alive": 0.5, "dead": 0.5, "dense": 0.25})
    edges, counts = histogram(firing)
    assert counts.sum() == 2
    assert len(edges) == len(counts) + 1
    d = identity_dictionary(16)
    measured = direction_measures(d)
    assert measured["nearest_cosine"] == pytest.approx(0.0, abs=1e-6)
    assert measured["encoder_cosine"] == pytest.approx(1.0)
    d.decoder[1] = d.decoder[0]
    assert direction_measures(d)["nearest_cosine"] == pytest.approx(2 / 32, abs=1e-6)


@pytest.mark.parametrize("name", ["llama", "gpt2", "native"])
@pytest.mark.parametrize("at", ["blocks.0.hook_resid_post", "blocks.1.hook_mlp_out", "blocks.2.hook_resid_pre"])
def test_a_model_runs_on_from_what_is_put_in(name: str, at: str) -> None:
    """Against the whole model under an intervention."""
    model, site = tiny(name), as_site(at)
    tokens = torch.randint(3, 100, (4, 12), generator=torch.Generator().manual_seed(0))
    passages = Passages(model, site, tokens, excluded=[int(tokens[0, 4])])
    whole = passages.begin()
    given = torch.randn(passages.activations.shape, generator=torch.Generator().manual_seed(1))
    seen = passages.seen(given)
    acts = capture(model, tokens, site)[site]
    with intervene(model, patch(site, torch.where(passages.replaced[..., None], given, acts))):
        changed = model(tokens)[:, :-1].log_softmax(-1)
    before = model(tokens)[:, :-1].log_softmax(-1)
    counted = passages.replaced[:, :-1]
    assert not counted[:, 0].any()
    assert not counted[0, 4]
    for logs, loss in ((before, whole), (changed, seen.loss)):
        each = -logs.gather(-1, tokens[:, 1:, None]).squeeze(-1)
        torch.testing.assert_close((each * counted).sum(1) / counted.sum(1), loss, rtol=1e-4, atol=1e-4)
    apart = (before.exp() * (before - changed)).sum(-1)
    torch.testing.assert_close((apart * counted).sum(1) / counted.sum(1), seen.kl, rtol=1e-3, atol=1e-4)
    unchanged = passages.seen(passages.activations)
    torch.testing.assert_close(unchanged.loss, whole)
    torch.testing.assert_close(unchanged.kl, torch.zeros(4), atol=1e-5, rtol=0)


def test_what_is_recovered() -> None:
    losses = torch.tensor([[4.0, 2.0], [4.5, 2.5], [6.0, 7.0], [5.0, 4.0]])
    measured = run_measures(losses.mean(1), torch.tensor([0.5, 0.3]).mean())
    assert measured.tolist() == pytest.approx([(6.5 - 3.5) / (6.5 - 3.0), (4.5 - 3.5) / (4.5 - 3.0), 0.5, 0.4])
    assert run_intervals(losses, torch.tensor([0.5, 0.3]))[0].isnan().all(), "two prompts say nothing about spread"
    many = losses[:, torch.arange(40) % 2] + torch.randn(4, 40, generator=torch.Generator().manual_seed(0)) * 0.1
    low, high = run_intervals(many, torch.full((40,), 0.4))
    centre = run_measures(many.mean(1), torch.tensor(0.4))
    assert (low <= centre).all()
    assert (centre <= high).all()
    assert (low[:2] > 0.3).all()


def test_evaluation_as_a_result() -> None:
    model = tiny("llama")
    width = int(model.cfg.d_model)
    named = {"perfect": identity_dictionary(width), "small": saes.TopK(width, 40, k=2).build().requires_grad_(False)}
    tokens = torch.randint(3, 100, (6, 12), generator=torch.Generator().manual_seed(0))
    found = saes.evaluate(named, model, tokens, "blocks.0.hook_resid_post", batch_size=4)
    assert found.sel(dictionary="perfect", measure="explained_variance").values["measures"].data > 0.999
    assert found.sel(dictionary="perfect", measure="ce_recovered_zero").values["measures"].data > 0.99
    assert found.sel(dictionary="small", measure="l0").values["measures"].data <= 2
    assert found.values["losses"].data.shape == (2, 4, 6)
    with pytest.raises(InputError, match="say with site="):
        saes.evaluate(named, model, tokens)
    narrow = saes.TopK(width - 1, 40, k=2).build()
    with pytest.raises(InputError, match=f"takes activations of width {width - 1}, and blocks.0.hook_resid_post"):
        saes.evaluate(narrow, model, tokens, "blocks.0.hook_resid_post")


def test_seeds_and_families_of_an_evaluation() -> None:
    model = tiny("llama")
    width = int(model.cfg.d_model)
    named: dict[str, saes.Dictionary] = {}
    for k in (2, 8):
        for seed in (0, 1):
            named[f"topk-40-k{k}-seed{seed}"] = (
                saes.TopK(width, 40, k=k).build(torch.Generator().manual_seed(seed)).requires_grad_(False)
            )
    other = saes.JumpReLU(width, 40).build().requires_grad_(False)
    other.metadata["training_architecture"] = "batchtopk"
    named["batchtopk-40"] = other
    tokens = torch.randint(3, 100, (6, 12), generator=torch.Generator().manual_seed(0))
    found = saes.evaluate(named, model, tokens, "blocks.0.hook_resid_post", with_model=False)
    spread = found.values["spread"]
    assert spread.axes[0].labels == ("topk-40-k2", "topk-40-k8")
    values = [found.sel(dictionary=f"topk-40-k2-seed{i}", measure="explained_variance") for i in (0, 1)]
    first, second = (float(each.values["measures"].data) for each in values)
    assert spread.data[0, :2].tolist() == pytest.approx([(first + second) / 2, abs(first - second)], abs=1e-6)
    by_name = {plot.values: plot for plot in found.plots}
    assert by_name["frontier"].options["families"]["batchtopk-40"] == "batchtopk"
    for plot in found.plots:
        assert found.figure(found.plots.index(plot)) is not None
        assert plot.caption


def test_comparing_at_equal_sparsity() -> None:
    frame = pd.DataFrame(
        {
            "dictionary": ["a", "b", "c", "d"],
            "family": ["topk", "topk", "jumprelu", "jumprelu"],
            "l0": [16.0, 64.0, 8.0, 64.0],
            "explained_variance": [0.6, 0.8, 0.5, 0.9],
        }
    )
    found = at_equal_l0(frame, "explained_variance")
    assert found is not None
    l0, values = found
    assert l0 == pytest.approx(32.0)
    assert values == pytest.approx({"topk": 0.7, "jumprelu": 0.5 + 0.4 * 2 / 3})
    told = frontier_finding(frame, "explained_variance")
    assert told.startswith("At 32 active latents per token, explained variance is: jumprelu 0.767, topk 0.700")
    assert at_equal_l0(frame[:2], "explained_variance") is None
    assert at_equal_l0(frame.assign(l0=[16.0, 32.0, 64.0, 128.0]), "explained_variance") is None
