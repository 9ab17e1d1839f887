"""The compiled program against tracr's own run of it, and its truth against exact edge patching."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
import torch

from interp.errors import InputError
from interp.models.toy import tracr_reverse
from interp.models.toy.truth import DENOISE, NOISE
from interp.tasks import for_toy
from tests.models.circuit_running import all_subsets, faithful, irreducible
from tests.models.composition import live_edges
from tests.models.edge_patching import exact_effects

needs_tracr = pytest.mark.skipif(find_spec("tracr") is None, reason="tracr-pypi is not installed (extra: tracr)")


@pytest.fixture(scope="module")
def model():
    return tracr_reverse.build()


@pytest.mark.skipif(find_spec("tracr") is not None, reason="tracr is installed")
def test_without_the_package_the_extra_is_named():
    with pytest.raises(InputError, match=r"interp-workbench\[tracr\]"):
        tracr_reverse.build()


def test_pairs_differ_in_every_letter_and_nowhere_else():
    clean, corrupt, answers, distractors = tracr_reverse.pairs(20, seed=1)
    assert (clean[:, 0] == corrupt[:, 0]).all()
    assert (clean[:, 1:] != corrupt[:, 1:]).all()
    assert (answers != distractors).all()
    assert set(clean[:, 1:].flatten().tolist()) == {1, 2, 3, 5}


@needs_tracr
@pytest.mark.slow
def test_the_bridge_computes_what_tracr_computes(model):
    clean, *_ = tracr_reverse.pairs(5, seed=0)
    compiled = tracr_reverse._compile()
    names = {index: letter for letter, index in compiled.input_encoder.encoding_map.items()}
    for prompt in clean.tolist():
        theirs = compiled.apply([names[token] for token in prompt])
        ours = model(torch.tensor([prompt]))[0].argmax(-1)
        assert theirs.decoded[-1] == names[prompt[1]] == tracr_reverse.LETTERS[ours[-1]]


@needs_tracr
@pytest.mark.slow
@pytest.mark.parametrize("case", [NOISE, DENOISE])
def test_two_edges_carry_the_letter(model, case):
    truth, pairs = tracr_reverse.TRUTH, tracr_reverse.pairs(6, seed=1)
    effects = exact_effects(model, pairs, truth.edges, case.ablation, case.direction)
    for edge, effect in effects.items():
        np.testing.assert_allclose(effect, truth.effects[case].get(edge, 0.0), atol=1e-5, err_msg=str(edge))


@needs_tracr
@pytest.mark.slow
def test_they_are_the_only_irreducible_set(model):
    truth, edges = tracr_reverse.TRUTH, tracr_reverse.TRUTH.edges
    live = live_edges(model, edges)
    counted = [edge for edge in live if edge not in tracr_reverse.CIRCUIT][:6]
    chosen = [*tracr_reverse.CIRCUIT, *counted]
    subsets = all_subsets(len(chosen))
    kept = np.random.default_rng(0).random((len(subsets), len(edges))) < 0.5
    kept[:, [edges.index(edge) for edge in chosen]] = subsets
    good = faithful(model, tracr_reverse.pairs(3, seed=2), kept, edges, "counterfactual", 1e-5)
    assert {frozenset(chosen[i] for i in elements) for elements in irreducible(good)} == set(truth.sufficient)


@needs_tracr
@pytest.mark.slow
def test_the_task_of_the_compiled_model(model):
    task = for_toy(model, n=4)
    difference = task.metric(model(task.clean)) - task.metric(model(task.corrupt))
    torch.testing.assert_close(difference, torch.full((4,), 2.0), atol=1e-5, rtol=0)
    assert task.prepend_bos
