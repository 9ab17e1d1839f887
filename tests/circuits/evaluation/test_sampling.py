"""Random circuits: connected, of the same layers, and different from each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from interp.circuits import Circuit, Graph
from interp.circuits.evaluation.sampling import inflated, layer_histogram, random_circuits, random_path
from interp.errors import InputError

GRAPHS = {
    "plain": Graph(4, 3, 3),
    "grouped": Graph(4, 4, 2),
    "parallel": Graph(3, 3, 3, parallel=True),
    "attention only": Graph(2, 2, 2, has_mlp=False),
    "positions": Graph(2, 2, 2, positions=("S", "end")),
}


def connected(graph: Graph, n_paths: int, seed: int = 0) -> Circuit:
    generator = np.random.default_rng(seed)
    mask = torch.zeros_like(graph.exists)
    for _ in range(n_paths):
        mask |= random_path(graph, generator)
    return Circuit(graph, mask).prune()


@pytest.mark.parametrize("name", list(GRAPHS))
@pytest.mark.parametrize("n_paths", [1, 5, 30])
def test_they_have_the_circuits_layers_and_are_connected(name: str, n_paths: int) -> None:
    graph = GRAPHS[name]
    circuit = connected(graph, n_paths)
    drawn = random_circuits(circuit, 12, seed=1)
    for random in drawn:
        assert torch.equal(layer_histogram(random), layer_histogram(circuit))
        assert torch.equal(random.prune().mask, random.mask)
    if n_paths == 5:
        assert len({random.mask.numpy().tobytes() for random in drawn}) > 6
    assert all(one.equal(same) for one, same in zip(drawn, random_circuits(circuit, 12, seed=1)))


def test_dense_circuits_have_random_ones_too() -> None:
    graph = GRAPHS["plain"]
    generator = torch.Generator().manual_seed(0)
    circuit = Circuit(graph, (torch.rand(graph.exists.shape, generator=generator) < 0.5) & graph.exists).prune()
    random = random_circuits(circuit, 1)[0]
    assert random.n_edges == circuit.n_edges
    assert torch.equal(random.prune().mask, random.mask)


def test_what_cannot_be_compared_is_refused() -> None:
    graph = GRAPHS["plain"]
    with pytest.raises(InputError, match="no edge of the circuit leads"):
        random_circuits(Circuit.from_edges(graph, [("embed", "a0.0.q")]), 3)
    with pytest.raises(InputError, match="nearly every path"):
        inflated(Circuit.full(graph), 2)


def test_inflated_circuits_gain_a_path_and_name_one_of_its_edges() -> None:
    circuit = connected(GRAPHS["plain"], 2)
    for larger, (row, column) in inflated(circuit, 10):
        assert not bool((circuit.mask & ~larger.mask).any())
        assert bool(larger.mask[row, column])
        assert not bool(circuit.mask[row, column])
        assert larger.prune().equal(larger)
