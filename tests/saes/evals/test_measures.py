"""Measures of dictionaries against closed forms and against the sums written out."""

from __future__ import annotations

import pytest
import torch

import saes
from interp.errors import InputError
from saes.evals.behaviour import RUNS, losses_with, recovered
from saes.evals.fidelity import Fidelity, fidelity
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


def test_losses_inside_a_model() -> None:
    model = tiny("llama")
    site = saes.evals.behaviour.Site("resid_post", 0)
    tokens = torch.randint(3, 100, (4, 12), generator=torch.Generator().manual_seed(0))
    width = int(model.cfg.d_model)
    mean = torch.zeros(width)
    losses, kl = losses_with(model, identity_dictionary(width), site, tokens, mean)
    assert losses.shape == (len(RUNS), 4)
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(kl, torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(losses[2], losses[3])  # the mean given here is zero
    expected = torch.stack([torch.tensor(4.0), torch.tensor(4.5), torch.tensor(6.0), torch.tensor(5.0)])
    assert float(recovered(expected, "zero")) == pytest.approx(0.75)
    assert float(recovered(expected, "mean")) == pytest.approx(0.5)


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
