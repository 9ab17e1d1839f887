"""Circuits: sets of edges, pruning against a walk over paths, files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from interp.circuits import Circuit, Graph
from interp.errors import InputError
from interp.models.toy import induction
from tests.tiny_models import tiny


@pytest.fixture(scope="module")
def graph() -> Graph:
    return Graph.of(induction.build())


def random_circuit(graph: Graph, share: float, seed: int = 0) -> Circuit:
    generator = torch.Generator().manual_seed(seed)
    return Circuit(graph, graph.exists & (torch.rand(graph.exists.shape, generator=generator) < share))


def on_a_path(circuit: Circuit) -> set[tuple[str, str]]:
    """The slow twin of prune: walk every path from the embedding, edge by edge."""
    graph = circuit.graph
    kept: set[tuple[str, str]] = set()

    def walk(writer: str, path: list[tuple[str, str]]) -> None:
        for edge in circuit.edges():
            if edge[0] != writer:
                continue
            if edge[1].startswith("logits"):
                kept.update([*path, edge])
                continue
            fed = graph.feeds[graph.reader_index[edge[1]]]
            for index in fed.nonzero()[:, 0]:
                walk(graph.writers[index], [*path, edge])

    for writer in graph.writers:
        if writer.startswith("embed"):
            walk(writer, [])
    return kept


def test_known_circuit_is_its_own_pruning(graph: Graph) -> None:
    circuit = Circuit.from_edges(graph, induction.CIRCUIT)
    assert set(circuit.edges()) == set(induction.CIRCUIT)
    assert circuit.prune().equal(circuit)
    assert circuit.nodes() == ("embed", "a0.0", "a1.0", "logits")


@pytest.mark.parametrize("seed", range(5))
def test_pruning_keeps_what_lies_on_paths(graph: Graph, seed: int) -> None:
    circuit = random_circuit(graph, 0.4, seed)
    assert set(circuit.prune().edges()) == on_a_path(circuit)


@pytest.mark.parametrize("seed", range(3))
def test_pruning_with_groups_and_positions(seed: int) -> None:
    graph = Graph(n_layers=2, n_heads=2, n_key_value_heads=1, positions=("S2", "end"))
    circuit = random_circuit(graph, 0.3, seed)
    assert set(circuit.prune().edges()) == on_a_path(circuit)


def test_dead_ends_go(graph: Graph) -> None:
    loose = [("embed", "a0.1.v"), ("a0.1", "a1.1.v"), ("a1.1", "logits")]
    assert Circuit.from_edges(graph, loose[:2]).prune().n_edges == 0
    assert Circuit.from_edges(graph, loose[1:]).prune().n_edges == 0
    assert Circuit.from_edges(graph, loose).prune().n_edges == 3


def test_set_operations(graph: Graph) -> None:
    a, b = random_circuit(graph, 0.5, 1), random_circuit(graph, 0.5, 2)
    edges = set(a.edges()), set(b.edges())
    assert set((a | b).edges()) == edges[0] | edges[1]
    assert set((a & b).edges()) == edges[0] & edges[1]
    assert set((a - b).edges()) == edges[0] - edges[1]
    assert (a | ~a).equal(Circuit.full(graph))
    assert (a & ~a).equal(Circuit.empty(graph))
    assert a.iou(b) == pytest.approx(len(edges[0] & edges[1]) / len(edges[0] | edges[1]))
    assert a.iou(a, level="node") == 1.0
    assert a.edges()[0] in a


def test_nodes_bring_their_edges(graph: Graph) -> None:
    circuit = Circuit.from_nodes(graph, ["a0.0", "a1.0"])
    assert set(circuit.nodes()) == {"embed", "a0.0", "a1.0", "logits"}
    assert set(induction.CIRCUIT) <= set(circuit.edges())
    assert ("a0.1", "logits") not in circuit
    # 3 x q, k, v of a0.0 from embed; 6 of a1.0 from embed and a0.0; the logits from all three.
    assert circuit.n_edges == 3 + 6 + 3
    assert Circuit.from_nodes(graph, []).edges() == [("embed", "logits")]


def test_shared_keys_come_with_any_of_their_heads() -> None:
    graph = Graph.of(tiny("llama"))
    circuit = Circuit.from_nodes(graph, ["a1.2"])
    assert set(circuit.edges()) == {
        ("embed", "a1.2.q"), ("embed", "a1.kv1.k"), ("embed", "a1.kv1.v"), ("embed", "logits"), ("a1.2", "logits"),
    }  # fmt: skip
    assert circuit.nodes() == ("embed", "a1.2", "logits")
    assert Circuit.from_edges(graph, [("embed", "a1.kv1.k")]).nodes() == ("embed", "a1.2", "a1.3")


def test_saved_and_loaded(graph: Graph, tmp_path: Path) -> None:
    circuit = Circuit(graph, random_circuit(graph, 0.5).mask, {"method": "by hand"})
    loaded = Circuit.load(circuit.save(tmp_path / "circuit.json"), graph)
    assert loaded.equal(circuit)
    assert loaded.settings == circuit.settings
    assert loaded.to_frame().equals(circuit.to_frame())


def test_another_models_circuit_is_refused(graph: Graph, tmp_path: Path) -> None:
    path = Circuit.full(graph).save(tmp_path / "circuit.json")
    with pytest.raises(InputError, match="another model"):
        Circuit.load(path, Graph.of(induction.build(beta=6.0)))
    with pytest.raises(InputError, match="another model"):
        Circuit.full(graph) & Circuit.full(Graph.of(induction.build(beta=6.0)))


def test_bad_files_and_masks_are_refused(graph: Graph, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no circuit at"):
        Circuit.load(tmp_path / "missing.json")
    (tmp_path / "other.json").write_text(json.dumps({"a": 1}))
    with pytest.raises(InputError, match="holds no circuit"):
        Circuit.load(tmp_path / "other.json")
    with pytest.raises(InputError, match="mask is boolean"):
        Circuit(graph, torch.ones(2, 2, dtype=torch.bool))
    with pytest.raises(InputError, match="there is no edge"):
        Circuit(graph, torch.ones_like(graph.exists))
    with pytest.raises(InputError, match="there is no node"):
        Circuit.from_nodes(graph, ["a9.9"])


def test_sets_of_another_graph_or_of_no_circuit_are_refused(graph: Graph) -> None:
    full, other = Circuit.full(graph), Circuit.full(Graph.of(tiny("native")))
    for combine in (Circuit.__or__, Circuit.__and__, Circuit.__sub__, Circuit.iou):
        with pytest.raises(InputError, match="this belongs to another model"):
            combine(full, other)
    with pytest.raises(TypeError, match="unsupported operand"):
        full | 3  # type: ignore[operator]
    with pytest.raises(InputError, match="not with a set"):
        full.iou({("embed", "logits")})  # type: ignore[arg-type]


def test_what_is_in_a_circuit(graph: Graph) -> None:
    circuit = Circuit.from_edges(graph, [("embed", "a0.0.v")])
    assert ("embed", "a0.0.v") in circuit
    assert "embed -> a0.0.v" in circuit
    for outside in (("embed", "a0.0.q"), ("logits", "embed"), ("embed", "a9.9.q"), "embed", "x", 3, ("embed",), None):
        assert outside not in circuit
