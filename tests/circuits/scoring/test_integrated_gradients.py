"""Integrals of gradients against what they add up to."""

from __future__ import annotations

import interp
from interp.circuits import Graph, score_edges
from interp.models.toy import induction
from tests.circuits.random_pairs import pairs
from tests.tiny_models import tiny


def test_integrated_gradients_see_a_part_of_saturated_attention() -> None:
    for beta, plain_sees in ((20.0, False), (6.0, True)):
        model = induction.build(beta=beta)
        task = interp.tasks.for_toy("toy/induction", n=4)
        query = score_edges(model, task, "eap").graph.edge_index(("embed", "a1.0.q"))
        plain, integrated = (score_edges(model, task, method).score[query] for method in ("eap", "eap-ig"))
        assert (float(plain) > 1.0) == plain_sees
        assert float(integrated) > 0.04


def test_integral_over_an_edges_own_writer_converges_to_the_exact_effect() -> None:
    """Into the logits nothing but the edge lies on the path, so the integral over activations is exact there."""
    model, task = tiny("native"), pairs()
    graph = Graph.of(model)
    edges = [(f"m{graph.n_layers - 1}", "logits")]
    exact = score_edges(model, task, "exact", edges=edges, keep_examples=True).per_example.data
    row, column = graph.edge_index(edges[0])
    errors = []
    for steps in (1, 8):
        found = score_edges(model, task, "eap-ig-activations", steps=steps, keep_examples=True).per_example.data
        errors.append(float((found - exact)[:, row, column].abs().max()))
    assert errors[1] < 0.1 * errors[0]
    assert errors[1] < 8e-3 * float(exact[:, row, column].abs().max())


def test_integral_over_inputs_adds_up_to_the_total_effect() -> None:
    """All edges out of the embedding together: the integral along the path is what the whole path is worth."""
    model, task = tiny("native"), pairs()
    errors = []
    for steps in (2, 8, 32):
        scores = score_edges(model, task, "eap-ig", steps=steps)
        whole = float((scores.values["clean"].data - scores.values["corrupt"].data).mean())
        errors.append(abs(float(scores.score[0].nansum()) - whole))
    assert errors[2] < 0.02 * abs(whole)
    assert errors[2] < errors[0]
