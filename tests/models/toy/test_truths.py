"""Every toy's stated truth against exact edge patching by an independent implementation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from interp.errors import InputError
from interp.models.toy import TOYS, linear, toy_module
from interp.models.toy.truth import DENOISE, NOISE, ZERO, edge_names
from tests.models.edge_patching import Reference, edge_slopes, exact_effects, metric

SATURATION = 1e-5  # logits; attention beside the match at beta = 20 is 5e-8, the unembedding's gain 10


@pytest.fixture(scope="module", params=sorted(TOYS))
def chosen(request):
    module = toy_module(request.param)
    return module, module.build(), module.pairs(6, seed=1)


def test_forward_equals_the_reference(chosen):
    _, model, (clean, *_) = chosen
    logits, _ = Reference(model).run(clean)
    np.testing.assert_allclose(model(clean)[:, -1].numpy(), logits, atol=1e-5)


@pytest.mark.parametrize("case", [NOISE, DENOISE, ZERO])
def test_exactly_the_stated_edges_are_active(chosen, case):
    module, model, pairs = chosen
    effects = exact_effects(model, pairs, module.TRUTH.edges, case.ablation, case.direction)
    active = {edge for edge, effect in effects.items() if np.abs(effect).max() > SATURATION}
    assert active == module.TRUTH.active[case]


def test_stated_effects_hold_for_every_pair(chosen):
    module, model, pairs = chosen
    for case, stated in module.TRUTH.effects.items():
        measured = exact_effects(model, pairs, stated, case.ablation, case.direction)
        for edge, effect in stated.items():
            np.testing.assert_allclose(measured[edge], effect, atol=SATURATION, err_msg=f"{case} {edge}")


@pytest.mark.parametrize("case", [NOISE, DENOISE])
def test_exactly_the_flat_edges_have_no_slope(chosen, case):
    module, model, pairs = chosen
    effects = exact_effects(model, pairs, module.TRUTH.active[case], case.ablation, case.direction)
    slopes = edge_slopes(model, pairs, module.TRUTH.active[case], case.direction)
    flat = {edge for edge, slope in slopes.items() if np.abs(slope).max() < 0.01 * np.abs(effects[edge]).max()}
    assert flat == module.TRUTH.flat.get(case, frozenset())


def test_total_effect(chosen):
    module, model, (clean, corrupt, answers, distractors) = chosen
    if module.TRUTH.total is None:
        pytest.skip("differs from pair to pair")
    effects = [metric(model(tokens)[:, -1].numpy(), answers, distractors) for tokens in (clean, corrupt)]
    np.testing.assert_allclose(effects[0] - effects[1], module.TRUTH.total, atol=SATURATION)


def test_pairs_are_seeded_and_no_pair_is_trivial(chosen):
    module, _, pairs = chosen
    again, other = module.pairs(6, seed=1), module.pairs(6, seed=2)
    assert all(torch.equal(a, b) for a, b in zip(pairs, again))
    assert not torch.equal(pairs[0], other[0])
    clean, corrupt, answers, distractors = pairs
    assert clean.shape == corrupt.shape
    assert clean.dtype == torch.int64
    assert answers.shape == distractors.shape == (6, 1)
    assert (answers != distractors).all()


def test_legacy_hook_names_are_captured(chosen):
    _, model, (clean, *_) = chosen
    _, cache = model.run_with_cache(clean)
    assert cache["blocks.1.attn.hook_z"].shape == (*clean.shape, model.cfg.n_heads, model.cfg.d_head)
    assert cache["blocks.1.hook_resid_pre"].shape == (*clean.shape, model.cfg.d_model)


def test_edge_names_count():
    assert len(edge_names(n_layers=2, n_heads=2, attn_only=True)) == 29
    assert len(edge_names(n_layers=2, n_heads=2, attn_only=False)) == 46


def test_unknown_toy_names_the_nearest():
    with pytest.raises(InputError, match="toy/induction"):
        toy_module("toy/inductoin")


def test_induction_heads_score_one():
    module = toy_module("induction")
    model = module.build()
    clean, _, answers, _ = module.pairs(16, seed=0)
    logits, cache = model.run_with_cache(clean)
    n_tokens = (clean.shape[1] - 1) // 2
    previous = cache["blocks.0.attn.hook_pattern"][:, 0].diagonal(offset=-1, dim1=-2, dim2=-1)
    matching = cache["blocks.1.attn.hook_pattern"][:, 0].diagonal(offset=-(n_tokens - 1), dim1=-2, dim2=-1)
    torch.testing.assert_close(previous, torch.ones_like(previous), atol=1e-6, rtol=0)
    torch.testing.assert_close(matching[:, 2:], torch.ones_like(matching[:, 2:]), atol=1e-6, rtol=0)
    assert torch.equal(logits[:, n_tokens + 1 : -1].argmax(-1), clean[:, n_tokens + 2 :])
    assert torch.equal(logits[:, -1].argmax(-1), answers[:, 0])


def test_gentle_induction_keeps_the_circuit_but_not_the_size():
    module = toy_module("induction")
    model, pairs = module.build(beta=6.0), module.pairs(6, seed=1)
    effects = exact_effects(model, pairs, module.TRUTH.edges, "counterfactual", "noise")
    assert {edge for edge, effect in effects.items() if np.abs(effect).max() > SATURATION} == set(module.CIRCUIT)
    assert 18.0 < effects["a1.0", "logits"].mean() < 19.5


@pytest.mark.parametrize("direction", ["noise", "denoise"])
def test_linear_effects_are_the_closed_form(direction):
    model, pairs = linear.build(), linear.pairs(5, seed=3)
    measured = exact_effects(model, pairs, linear.TRUTH.edges, "counterfactual", direction)
    for edge, effect in linear.edge_effects(*pairs).items():
        np.testing.assert_allclose(effect.numpy(), measured[edge], atol=1e-6, err_msg=str(edge))


def test_linear_cuts_sum_to_the_total():
    model, pairs = linear.build(), linear.pairs(5, seed=3)
    effects = linear.edge_effects(*pairs)
    clean, corrupt, answers, distractors = pairs
    total = sum(
        sign * metric(Reference(model).run(tokens)[0], answers, distractors)
        for sign, tokens in ((1, clean), (-1, corrupt))
    )
    order = ["embed", "a0.0", "a0.1", "m0", "a1.0", "a1.1", "m1", "logits"]
    for n_before in (1, 3, 4, 6, 7):  # cuts between layers: heads of a layer read in parallel
        before = set(order[:n_before])
        crossing = [
            effect
            for (writer, reader), effect in effects.items()
            if writer in before and reader.removesuffix(".v") not in before
        ]
        np.testing.assert_allclose(sum(crossing).numpy(), total, atol=1e-6)
    everything = sum(itertools.chain(effects.values()))
    assert np.abs(everything.numpy() - total).max() > 0.1
