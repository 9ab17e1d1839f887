"""ACDC: known circuits are found, decisions are those of one edge at a time, and an interruption costs nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from interp.circuits import Circuit, Graph, search
from interp.circuits.masks import MaskRunner
from interp.circuits.searching import keeping
from interp.circuits.searching.damage import Damage
from interp.errors import InputError
from interp.models import load_model
from interp.models.toy import TOYS, toy_module
from interp.tasks import PromptPairs, for_toy
from tests.circuits.searching.one_edge_at_a_time import acdc_one_edge_at_a_time
from tests.circuits.test_masks import pairs
from tests.tiny_models import tiny


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("INTERP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def toy(name: str, n: int = 3) -> tuple[Any, PromptPairs]:
    model = load_model(name)
    return model, for_toy(model, n=n, seed=1)


@pytest.mark.parametrize("name", list(TOYS))
def test_what_is_left_is_an_irreducible_sufficient_set(name: str) -> None:
    model, task = toy(name)
    found = search(model, task, "acdc", threshold=0.02)
    assert frozenset(found.edges()) in toy_module(name).TRUTH.sufficient
    assert found.settings["damage_of_circuit"] < 1e-4


OTHER_WAYS = [("early", "toy/or"), ("hierarchical", "toy/induction")]


@pytest.mark.parametrize(
    ("way", "name"),
    [
        *OTHER_WAYS,
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in product(("early", "hierarchical"), TOYS)
            if case not in OTHER_WAYS
        ),
    ],
)
def test_other_ways_leave_an_irreducible_sufficient_set_too(way: str, name: str) -> None:
    model, task = toy(name)
    found = search(model, task, way) if way == "hierarchical" else search(model, task, "acdc", order=way)
    assert frozenset(found.edges()) in toy_module(name).TRUTH.sufficient


QUICK = [("toy/induction", "late", 0.02), ("toy/cancelling", "early", 0.02), ("toy/negative", "late", 3.0)]


@pytest.mark.parametrize(
    ("name", "order", "threshold"),
    [
        *QUICK,
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in product(
                ("toy/induction", "toy/linear", "toy/negative", "toy/cancelling"), ("late", "early"), (0.02, 3.0)
            )
            if case not in QUICK
        ),
    ],
)
def test_decisions_are_those_of_one_edge_at_a_time(name: str, order: str, threshold: float) -> None:
    model, task = toy(name)
    graph = Graph.of(model)
    slow = Circuit(graph, acdc_one_edge_at_a_time(model, task, graph, threshold, order))
    fast = search(model, task, "acdc", threshold=threshold, order=order)
    assert fast.equal(slow.prune())
    assert fast.settings["n_kept"] == slow.n_edges
    assert fast.settings["n_batches"] < graph.n_edges


def some_edges(graph: Graph, n: int) -> Circuit:
    """The last block, read from the embedding and written to the logits, and n random edges."""
    last, first = graph.n_layers - 1, graph.writer_layer < 0
    ends = first[:, None] & (graph.reader_layer >= last) | (graph.writer_layer == last)[:, None]
    drawn = torch.zeros_like(graph.exists)
    rows, columns = graph.exists.nonzero()[
        torch.randperm(graph.n_edges, generator=torch.Generator().manual_seed(0))[:n]
    ].T
    drawn[rows, columns] = True
    return Circuit(graph, graph.exists & (ends | drawn))


@pytest.mark.parametrize(("name", "value"), [("gpt2", "counterfactual"), ("llama", "zero"), ("gemma2", "mean")])
def test_decisions_are_the_same_with_norms_shared_keys_and_other_values(name: str, value: str) -> None:
    model, task = tiny(name), pairs(2)
    graph = Graph.of(model)
    within = some_edges(graph, 8)
    threshold = 0.03 * float((task.metric(model(task.clean.as_subclass(Tensor)))).abs().mean())
    slow = Circuit(graph, acdc_one_edge_at_a_time(model, task, graph, threshold, value=value, start=within.mask))
    fast = search(model, task, "acdc", threshold=threshold, value=value, within=within)
    assert 0 < slow.n_edges < within.n_edges
    assert fast.equal(slow.prune() if value == "counterfactual" else slow)


def test_named_positions_are_searched_without_cutting_anything_off() -> None:
    model, task = tiny("llama"), pairs(2)
    graph = Graph.of(model, ("middle", "end"))
    within = some_edges(graph, 8)
    slow = acdc_one_edge_at_a_time(model, task, graph, 0.05, start=within.mask)
    fast = search(model, task, "acdc", graph=graph, threshold=0.05, within=within)
    assert torch.equal(fast.mask, slow)
    assert 0 < fast.n_edges < within.n_edges


def test_dropping_what_nothing_reaches_changes_no_number() -> None:
    model, task = toy("toy/cancelling")
    graph = Graph.of(model)
    slow = Circuit(graph, acdc_one_edge_at_a_time(model, task, graph, 0.02))
    assert slow.prune().n_edges < slow.n_edges
    runner = MaskRunner(model, task, graph)
    torch.testing.assert_close(*runner.of_circuits([slow, slow.prune()]))


def test_signed_damage_removes_what_suppresses_the_answer() -> None:
    model, task = toy("toy/negative")
    found = search(model, task, "acdc", damage="signed")
    assert not any(writer == "a1.0" and reader == "logits" for writer, reader in found.edges()) or found.n_edges < 6
    assert found.settings["damage_of_circuit"] < -1


def test_kl_is_measured_in_nats_on_all_of_the_vocabulary() -> None:
    model, task = toy("toy/and")
    graph = Graph.of(model)
    damage = Damage(model, task, graph, "kl", batch_size=None, memory_budget=2**30)
    none = torch.zeros_like(graph.exists)
    whole = model(task.clean.as_subclass(Tensor))[:, -1].log_softmax(-1)
    other = model(task.corrupt.as_subclass(Tensor))[:, -1].log_softmax(-1)
    expected = (whole.exp() * (whole - other)).sum(-1).mean()
    torch.testing.assert_close(damage(torch.stack([graph.exists, none])).float(), torch.tensor([0.0, float(expected)]))
    assert damage.unit == "nats"


def interrupt(monkeypatch: pytest.MonkeyPatch, after: int) -> list[int]:
    """Ctrl-C at a batch of runs; the list counts the circuits that were run."""
    counted: list[int] = []
    run = Damage.__call__

    def interrupted(self: Damage, masks: Tensor) -> Tensor:
        if len(counted) == after:
            raise KeyboardInterrupt
        counted.append(len(masks))
        return run(self, masks)

    monkeypatch.setattr(Damage, "__call__", interrupted)
    return counted


@pytest.mark.parametrize(("method", "name", "after"), [("acdc", "toy/and", 4), ("hierarchical", "toy/two_circuits", 9)])
def test_ctrl_c_keeps_what_was_decided(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    cache: Path,
    caplog: pytest.LogCaptureFixture,
    method: str,
    name: str,
    after: int,
) -> None:
    model, task = toy(name)
    expected = search(model, task, method)
    for where in (True, tmp_path / "run" / "acdc.json"):
        with monkeypatch.context() as patched:
            counted = interrupt(patched, after=after)
            with pytest.raises(KeyboardInterrupt) as caught:
                search(model, task, method, resume=where)
        assert "decisions are kept in" in caught.value.__notes__[0]
        path = next((cache / "searches").glob("*.json")) if where is True else tmp_path / "run" / "acdc.json"
        assert any(stage["n_decided"] > 3 for stage in json.loads(path.read_text())["stages"].values())
        again = search(model, task, method, resume=where)
        assert again.equal(expected)
        assert "resuming" in caplog.text
        assert again.settings["n_circuits"] >= expected.settings["n_circuits"] > sum(counted)
        assert not path.exists()


def test_a_file_of_another_search_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model, task = toy("toy/and")
    path = tmp_path / "acdc.json"
    with monkeypatch.context() as patched:
        interrupt(patched, after=3)
        with pytest.raises(KeyboardInterrupt):
            search(model, task, "acdc", resume=path)
    with pytest.raises(InputError, match="another threshold"):
        search(model, task, "acdc", threshold=0.5, resume=path)
    path.write_text("nonsense")
    with pytest.raises(InputError, match="holds no unfinished search"):
        search(model, task, "acdc", resume=path)


def test_nothing_is_kept_without_a_file(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    model, task = toy("toy/and")
    interrupt(monkeypatch, after=3)
    with pytest.raises(KeyboardInterrupt):
        search(model, task, "acdc", resume=False)
    assert not cache.exists()


def test_long_searches_save_as_they_go(monkeypatch: pytest.MonkeyPatch) -> None:
    model, task = toy("toy/and")
    saved = []
    monkeypatch.setattr(keeping, "SAVE_EVERY", -1.0)
    monkeypatch.setattr(keeping, "atomic_write", lambda path, text: saved.append(json.loads(text)))
    found = search(model, task, "acdc")
    steps = [one["stages"]["edges"]["n_decided"] for one in saved]
    assert steps == sorted(steps)
    assert steps[-1] == Graph.of(model).n_edges
    assert len(steps) > 2
    assert len(saved[-1]["stages"]["edges"]["kept"]) == found.settings["n_kept"]


class _Undefined:
    """A score that is not a number."""

    def __call__(self, values: Tensor) -> Tensor:
        return values[..., 0] * float("nan")

    def rows(self, index: Any) -> _Undefined:
        return self

    def to(self, device: Any) -> _Undefined:
        return self


def test_what_cannot_be_searched_is_refused() -> None:
    model, task = toy("toy/and")
    other = Circuit.full(Graph.of(load_model("toy/or")))
    for threshold in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="a number above 0"):
            search(model, task, "acdc", threshold=threshold)
    refused = {
        "another model": {"within": other},
        "no edge": {"within": Circuit.empty(Graph.of(model))},
        "kind of damage": {"damage": "absolut"},
        "order of writers": {"order": "last"},
        "ablation value": {"value": "median"},
    }
    for message, options in refused.items():
        with pytest.raises(InputError, match=message):
            search(model, task, "acdc", **options)
    with pytest.raises(InputError, match="one pair"):
        search(model, task[:1], "acdc")
    undefined = replace(task, metric=replace(task.metric, score=_Undefined()))
    with pytest.raises(InputError, match="is nan for prompt 0"):
        search(model, undefined, "acdc")
