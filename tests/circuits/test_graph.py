"""The graph: its names, its order, its edges, against the lists written by hand for the toys."""

from __future__ import annotations

import pytest
import torch

from interp.circuits import Graph
from interp.errors import InputError
from interp.models.toy import toy_module
from tests.tiny_models import TINY, tiny


@pytest.mark.parametrize("name", ["toy/induction", "toy/linear"])
def test_edges_are_those_of_the_toys(name: str) -> None:
    toy = toy_module(name)
    graph = Graph.of(toy.build())
    rows, columns = graph.exists.nonzero(as_tuple=True)
    edges = {(graph.writers[row], graph.readers[column]) for row, column in zip(rows, columns)}
    assert edges == set(toy.TRUTH.edges)
    assert graph.n_edges == len(toy.TRUTH.edges)


def test_gpt2_small_has_the_published_number_of_edges() -> None:
    graph = Graph(n_layers=12, n_heads=12, n_key_value_heads=12)
    assert (len(graph.writers), len(graph.readers), graph.n_edges) == (157, 445, 32_491)


@pytest.mark.parametrize("name", TINY)
def test_names_are_unique_and_indexed(name: str) -> None:
    graph = Graph.of(tiny(name))
    assert len(set(graph.writers)) == len(graph.writers) == len(graph.writer_layer)
    assert len(set(graph.readers)) == len(graph.readers) == len(graph.reader_layer)
    assert graph.exists.shape == (len(graph.writers), len(graph.readers))
    assert all(graph.writers[index] == writer for writer, index in graph.writer_index.items())


def test_grouped_keys_and_values_have_one_reader_a_group() -> None:
    graph = Graph.of(tiny("llama"))
    assert graph.readers[:9] == (
        "a0.0.q", "a0.1.q", "a0.2.q", "a0.3.q", "a0.kv0.k", "a0.kv1.k", "a0.kv0.v", "a0.kv1.v", "m0",
    )  # fmt: skip
    fed = graph.feeds[graph.reader_index["a1.kv1.v"]]
    assert [graph.writers[i] for i in fed.nonzero()[:, 0]] == ["a1.2", "a1.3"]


def test_mlp_reads_its_attention_unless_parallel() -> None:
    for name, reads in (("gpt2", True), ("llama", True), ("gemma2", True), ("gpt-neox", False)):
        graph = Graph.of(tiny(name))
        assert bool(graph.exists[graph.writer_index["a1.2"], graph.reader_index["m1"]]) == reads
        assert not graph.exists[graph.writer_index["m1"], graph.reader_index["a1.0.q"]]
        assert graph.exists[graph.writer_index["m1"], graph.reader_index["a2.0.q"]]


@pytest.mark.parametrize("positions", [None, ("S2", "end")])
@pytest.mark.parametrize("name", ["gpt2", "llama", "native-attention-only"])
def test_slices_name_what_they_say(name: str, positions: tuple[str, ...] | None) -> None:
    graph = Graph.of(tiny(name), positions=positions)
    at = "" if positions is None else "@S2"
    for layer in range(graph.n_layers):
        assert graph.writers[graph.writer_slice(layer)][0] == f"a{layer}.0{at}"
        for letter in graph.letters:
            names = graph.readers[graph.reader_slice(layer, letter)]
            ends = f"m{layer}" if letter == "m" else f".{letter}"
            assert all(name.partition("@")[0].endswith(ends) for name in names)
            assert len(names) == graph.places * (len(names) // graph.places)
            seen = int(graph.exists[:, graph.reader_slice(layer, letter).start].sum())
            assert seen == graph.n_writers_before(layer, letter)
    assert graph.readers[graph.reader_slice(graph.n_layers, "logits")][0] == f"logits{at}"


def test_positions_multiply_nodes_and_keep_edges_in_place() -> None:
    plain, placed = Graph.of(tiny("gpt2")), Graph.of(tiny("gpt2"), positions=("S1", "S2", "end"))
    assert placed.n_edges == 3 * plain.n_edges
    assert "a1.2@S2" in placed.writer_index
    assert placed.exists[placed.writer_index["a0.1@S2"], placed.reader_index["a1.0.k@S2"]]
    assert not placed.exists[placed.writer_index["a0.1@S1"], placed.reader_index["a1.0.k@S2"]]
    assert placed.feeds[placed.reader_index["a1.0.k@S1"], placed.writer_index["a1.0@end"]]
    assert not placed.feeds[placed.reader_index["a1.0.q@S1"], placed.writer_index["a1.0@end"]]
    assert placed.with_positions(None) == plain


def test_description_brings_the_graph_back() -> None:
    for positions in (None, ("S2", "end")):
        graph = Graph.of(tiny("llama"), positions=positions)
        again = Graph.from_description(graph.describe())
        assert again == graph
        assert torch.equal(again.exists, graph.exists)


def test_mistakes_are_refused_in_words() -> None:
    graph = Graph.of(tiny("gpt2"))
    with pytest.raises(InputError, match=r"no writer 'a9.0'"):
        graph.edge_index(("a9.0", "logits"))
    with pytest.raises(InputError, match=r"no reader 'a0.0'"):
        graph.edge_index(("embed", "a0.0"))
    with pytest.raises(InputError, match="does not come before"):
        graph.edge_index(("a1.0", "a1.0.q"))
    with pytest.raises(InputError, match=r"another model \(unnamed\).*differ in n_heads: 4 here and 2 there"):
        graph.check_same(Graph(n_layers=3, n_heads=2, n_key_value_heads=2))
    with pytest.raises(InputError, match=r"^the two graphs differ in positions"):
        graph.check_same(graph.with_positions(["end"]))
    with pytest.raises(InputError, match=r"another model.*their weights differ"):
        graph.check_same(Graph.of(TINY["gpt2"](seed=1)))
    with pytest.raises(InputError, match="each once"):
        Graph.of(tiny("gpt2"), positions=["end", "end"])
