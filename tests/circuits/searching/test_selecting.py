"""Selecting edges by score: the top ones, greedily from the logits, and those that most draws of the prompts select."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from interp.circuits import Circuit, EdgeScores, Graph, score_edges, search
from interp.circuits.searching.greedy import picking_order
from interp.circuits.searching.stable import selection_frequency
from interp.errors import InputError
from interp.models import load_model
from interp.models.toy import toy_module
from interp.tasks import PromptPairs, for_toy
from tests.circuits.test_masks import pairs
from tests.tiny_models import tiny


@pytest.fixture(scope="module")
def task() -> PromptPairs:
    return pairs(4)


@pytest.fixture(scope="module")
def scores(task: PromptPairs) -> EdgeScores:
    return score_edges(tiny("llama"), task, "eap", keep_examples=True)


def test_top_is_what_the_scores_say(scores: EdgeScores, task: PromptPairs) -> None:
    found = search(tiny("llama"), task, "top", n_edges=20, scores="eap", at="clean")
    assert found.equal(scores.top(20))
    assert found.settings["scores"]["method"] == "eap"
    assert search(tiny("llama"), task, "top", n_edges=5, scores=scores, by="signed").equal(scores.top(5, "signed"))


def greedy_by_hand(graph: Graph, score: torch.Tensor, n: int) -> Circuit:
    """All edges into nodes of the circuit are looked at before every pick."""
    mask, size = torch.zeros_like(graph.exists), score.abs().nan_to_num(nan=-1.0)
    reached = graph.reader_layer == graph.n_layers
    for _ in range(n):
        open_edges = graph.exists & reached & ~mask
        if not open_edges.any():
            break
        best = torch.where(open_edges, size, -1.0).flatten().argmax()
        row, column = divmod(int(best), mask.shape[1])
        mask[row, column] = True
        reached = reached | graph.feeds[:, row]
    return Circuit(graph, mask)


def test_greedy_picks_as_by_hand(scores: EdgeScores) -> None:
    graph = scores.graph
    picks = picking_order(graph, scores.score.abs().nan_to_num(nan=float("-inf")))
    assert len(picks) == graph.n_edges == len(set(picks))
    for n in (1, 7, 40):
        mask = torch.zeros_like(graph.exists)
        rows, columns = torch.tensor(picks[:n]).T
        mask[rows, columns] = True
        assert Circuit(graph, mask).equal(greedy_by_hand(graph, scores.score, n))


@pytest.mark.parametrize("n", [1, 5, 30, 60])
def test_greedy_circuits_are_connected_and_as_large_as_they_may_be(
    scores: EdgeScores, task: PromptPairs, n: int
) -> None:
    found = search(tiny("llama"), task, "greedy", n_edges=n, scores=scores)
    assert found.equal(found.prune())
    picked = int(found.settings["n_picked"])
    assert found.equal(greedy_by_hand(scores.graph, scores.score, picked).prune())
    assert found.n_edges <= n < greedy_by_hand(scores.graph, scores.score, picked + 1).prune().n_edges


def test_greedy_finds_the_circuit_that_top_does_not_connect() -> None:
    name = "toy/cancelling"
    model = load_model(name)
    found = search(model, for_toy(model, n=3, seed=0), "greedy", n_edges=2, scores="exact")
    assert frozenset(found.edges()) in toy_module(name).TRUTH.sufficient


def test_stable_edges_are_those_that_most_draws_select(scores: EdgeScores, task: PromptPairs) -> None:
    often = selection_frequency(scores, 15, n_draws=50, seed=3)
    assert often.sum() == pytest.approx(15, abs=1e-4)
    generator = torch.Generator().manual_seed(3)
    each = scores.values["per_example"].data
    slow = torch.zeros_like(often)
    for start in range(0, 50, 16):
        for draw in torch.randint(4, (min(16, 50 - start), 4), generator=generator):
            size = each[draw].mean(0).abs().nan_to_num(nan=-1.0).flatten()
            slow.view(-1)[size.argsort(descending=True, stable=True)[:15]] += 1 / 50
    np.testing.assert_allclose(often, slow, atol=1e-5)
    found = search(tiny("llama"), task, "stable", n_edges=15, scores=scores, n_draws=50, seed=3, share=0.9)
    assert torch.equal(found.mask, slow > 0.9 - 1e-6)
    assert 0 < found.n_edges < 15


def test_prompts_that_agree_are_stable() -> None:
    model = load_model("toy/induction")
    task = for_toy(model, n=4, seed=0)
    found = search(model, task, "stable", n_edges=5, scores="exact", share=1.0)
    assert frozenset(found.edges()) == max(toy_module("toy/induction").TRUTH.sufficient, key=len)


def test_bad_requests_are_refused(scores: EdgeScores, task: PromptPairs) -> None:
    model = tiny("llama")
    n_edges = scores.graph.n_edges
    refused = [
        ("top", {"n_edges": n_edges + 1, "scores": scores}, f"a number from 1 to {n_edges}"),
        ("greedy", {"n_edges": 0, "scores": scores}, "a number from 1"),
        ("stable", {"n_edges": n_edges + 1, "scores": scores}, "a number from 1"),
        ("stable", {"share": 0.0, "scores": scores}, "share is"),
        ("stable", {"n_draws": 0, "scores": scores}, "n_draws is"),
        ("stable", {"scores": score_edges(model, task, "eap")}, "keep_examples=True"),
        ("top", {"scores": "ifr"}, "use method='greedy'"),
        ("top", {"scores": "eep"}, "did you mean 'eap'"),
        ("top", {"scores": 3.0}, "name of a method"),
        ("top", {"n_edge": 3}, "did you mean 'n_edges'"),
        ("top", {"scores": scores, "steps": 3}, "no option of top 'steps'"),
        ("acdc", {"treshold": 3}, "did you mean 'threshold'"),
        ("adcd", {}, "did you mean 'acdc'"),
    ]
    for method, options, message in refused:
        with pytest.raises(InputError, match=message):
            search(model, task, method, **options)
    with pytest.raises(InputError, match="the two graphs differ in"):
        search(tiny("gpt2"), task, "top", scores=scores)
    with pytest.raises(InputError, match="one pair"):
        search(model, task[:1], "greedy", scores="eap")
