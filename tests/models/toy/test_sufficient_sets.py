"""Every toy's stated irreducible sets against a run of every set of edges that can carry anything."""

from __future__ import annotations

import numpy as np
import pytest

from interp.models.toy import TOYS, linear, toy_module
from tests.models.circuit_running import all_subsets, faithful, irreducible
from tests.models.composition import live_edges

TOLERANCE = 1e-4  # logits; the smallest stated effect is 0.16
SMALL = sorted(set(TOYS) - {"toy/linear", "toy/two_circuits"})


def found_sets(name: str, ablation: str, n_pairs: int) -> set[frozenset]:
    """Irreducible sufficient sets among the live edges; the others are kept or not at random, which must not matter."""
    module = toy_module(name)
    model, edges = module.build(), module.TRUTH.edges
    live = live_edges(model, edges)
    subsets = all_subsets(len(live))
    kept = np.random.default_rng(0).random((len(subsets), len(edges))) < 0.5
    kept[:, [edges.index(edge) for edge in live]] = subsets
    good = faithful(model, module.pairs(n_pairs, seed=3), kept, edges, ablation, TOLERANCE)
    return {frozenset(live[i] for i in elements) for elements in irreducible(good)}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("ablation", ["counterfactual", "zero"])
def test_all_irreducible_sets_are_stated(name, ablation):
    truth = toy_module(name).TRUTH
    stated = truth.sufficient if ablation == "counterfactual" else truth.sufficient_zero
    found = found_sets(name, ablation, n_pairs=2)
    assert found == set(stated)
    assert len(stated) == len(found), "a set is stated twice"
    assert [len(edges) for edges in stated] == sorted(len(edges) for edges in stated)


@pytest.mark.slow
@pytest.mark.parametrize("ablation", ["counterfactual", "zero"])
def test_all_irreducible_sets_of_four_layers_are_stated(ablation):
    truth = toy_module("two_circuits").TRUTH
    stated = truth.sufficient if ablation == "counterfactual" else truth.sufficient_zero
    assert found_sets("toy/two_circuits", ablation, n_pairs=1) == set(stated)


def test_sets_of_four_layers_among_the_active_edges():
    module = toy_module("two_circuits")
    truth, edges = module.TRUTH, module.TRUTH.edges
    active = [edge for edge in edges if edge in truth.in_a_circuit]
    subsets = all_subsets(len(active))
    kept = np.zeros((len(subsets), len(edges)), bool)
    kept[:, [edges.index(edge) for edge in active]] = subsets
    good = faithful(module.build(), module.pairs(1, seed=3), kept, edges, "counterfactual", TOLERANCE)
    assert {frozenset(active[i] for i in elements) for elements in irreducible(good)} == set(truth.sufficient)


def test_the_linear_toy_needs_every_edge_that_carries():
    (stated,) = linear.TRUTH.sufficient
    edges = linear.TRUTH.edges
    carrying = np.array([edge in stated for edge in edges])
    generator = np.random.default_rng(0)
    whole = (generator.random((50, len(edges))) < 0.5) | carrying
    without_one = np.repeat(carrying[None], len(edges), 0) & ~np.eye(len(edges), dtype=bool)
    some = generator.random((200, len(edges))) < generator.random((200, 1))
    kept = np.concatenate([whole, without_one, some])
    good = faithful(linear.build(), linear.pairs(4, seed=3), kept, edges, "counterfactual", TOLERANCE)
    assert good.tolist() == (kept | ~carrying).all(1).tolist()


@pytest.mark.parametrize("name", sorted(TOYS))
def test_statements_agree_with_each_other(name):
    truth = toy_module(name).TRUTH
    edges = set(truth.edges)
    assert truth.in_a_circuit <= edges
    for case, stated in truth.effects.items():
        assert stated.keys() <= truth.active[case] <= edges
        assert 0.0 not in stated.values()
    for case, flat in truth.flat.items():
        assert flat <= truth.active[case]
