"""Edge scores of all methods: closed forms, the same in other pieces, grouped keys, the result and its refusals."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

import interp
from interp.circuits import Circuit, EdgeScores, Graph, evaluate, memory_plan, score_edges, search
from interp.circuits.edge_plots import plot_of
from interp.circuits.edge_scores import check_size
from interp.errors import InputError
from interp.models.toy import induction, linear
from interp.results import Axis, Values, load
from interp.tasks import PromptPairs, from_tokens
from tests.circuits.random_pairs import all_roles, pairs
from tests.tiny_models import TINY, boot, plain_llama, random_tokens, tiny

GRADIENT_METHODS = ("eap", "eap-ig", "eap-ig-activations", "eap-qk-fix")


@pytest.mark.parametrize("method", GRADIENT_METHODS)
@pytest.mark.parametrize("at", ["clean", "corrupt"])
def test_linear_models_have_no_error(method: str, at: str) -> None:
    model = linear.build()
    task = interp.tasks.for_toy(model, n=3)
    scores = score_edges(model, task, method, at=at, keep_examples=True)
    expected = linear.edge_effects(
        *(x.as_subclass(Tensor) for x in (task.clean, task.corrupt)), task.answers, task.distractors
    )
    graph = scores.graph
    for (writer, reader), effect in expected.items():
        row, column = graph.edge_index((writer, reader))
        assert torch.allclose(scores.per_example.data[:, row, column].double(), effect, atol=2e-5), (writer, reader)


def test_edges_of_a_cut_add_up_to_the_whole_effect() -> None:
    """On a linear model, the edges into one side of any cut between embedding and logits carry everything."""
    model = linear.build()
    scores = score_edges(model, interp.tasks.for_toy(model, n=4), "eap")
    graph, score = scores.graph, scores.score.nan_to_num()
    whole = (scores.values["clean"].data - scores.values["corrupt"].data).mean()
    inner = torch.zeros(len(graph.writers), dtype=torch.bool)
    for writer in range(len(graph.writers)):
        # The writers before some point are on the embedding's side; readers that feed the others are on the far side.
        inner[writer] = True
        far = ~(graph.feeds & inner).any(1)
        crossing = score[inner][:, far].sum()
        assert crossing == pytest.approx(float(whole), abs=1e-4)


@pytest.mark.parametrize(
    ("method", "effects"),
    [("eap", (0, 0, 0, 20, 20)), ("eap-qk-fix", (0, 10, 10, 20, 20)), ("exact", (10, 10, 10, 20, 20))],
)
def test_saturated_attention_of_the_induction_model(method: str, effects: tuple[int, ...]) -> None:
    """Gradients see nothing of what passes through saturated attention; the QK-fix sees queries and keys."""
    model = induction.build()
    scores = score_edges(model, interp.tasks.for_toy(model, n=4), method)
    graph = scores.graph
    found = dict(zip(induction.CIRCUIT, effects))
    for row, column in graph.exists.nonzero().tolist():
        expected = found.get((graph.writers[row], graph.readers[column]), 0)
        assert float(scores.score[row, column]) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_batches_and_tiles_of_any_size_give_the_same(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, task = tiny("llama"), pairs(n=2)
    whole = score_edges(model, task, method, steps=2, keep_examples=True)
    monkeypatch.setattr("interp.circuits.memory.MOST_TILE_TOKENS", 3)
    monkeypatch.setattr("interp.circuits.memory.MOST_PASS_TOKENS", 20)
    pieces = score_edges(model, task, method, steps=2, batch_size=1, keep_examples=True)
    assert torch.allclose(whole.per_example.data, pieces.per_example.data, atol=1e-4, equal_nan=True)
    assert torch.allclose(whole.values["std"].data, pieces.values["std"].data, atol=1e-4, equal_nan=True)
    assert torch.allclose(whole.score, whole.per_example.data.mean(0), atol=1e-5, equal_nan=True)
    assert torch.allclose(whole.values["std"].data, whole.per_example.data.std(0), atol=1e-4, equal_nan=True)


@pytest.mark.parametrize("method", ["eap", "eap-ig", "eap-ig-activations"])
def test_roles_add_up_to_the_whole_when_they_are_all_positions(method: str) -> None:
    """A graph over every position: edges of all positions together make the plain score (queries and keys: linear)."""
    model = tiny("gpt2")
    task = all_roles(pairs(n=2, n_pos=7), 5)
    roles = tuple(f"p{i}" for i in range(5))
    plain = score_edges(model, task, method)
    placed = score_edges(model, task, method, graph=Graph.of(model, roles))
    summed = placed.score.nan_to_num().unflatten(0, (-1, 5)).unflatten(2, (-1, 5)).sum((1, 3))
    assert torch.allclose(summed, plain.score.nan_to_num(), atol=1e-4)


def test_grouped_scores_are_sums_of_ungrouped_ones() -> None:
    plain = plain_llama()
    config = transformers.LlamaConfig(**plain.config.to_dict() | {"num_key_value_heads": 4})
    wide = transformers.LlamaForCausalLM(config).eval().requires_grad_(False)
    weights = plain.state_dict()
    for name, weight in weights.items():
        if name.endswith(("k_proj.weight", "v_proj.weight")):
            weights[name] = weight.unflatten(0, (2, -1)).repeat_interleave(2, dim=0).flatten(0, 1)
    wide.load_state_dict(weights)
    grouped, ungrouped = tiny("llama"), boot(wide)
    task = pairs()
    for method in ("eap", "eap-ig", "eap-qk-fix"):
        few, many = score_edges(grouped, task, method), score_edges(ungrouped, task, method)
        for reader, column in few.graph.reader_index.items():
            if ".kv" not in reader:
                expected = many.score[:, many.graph.reader_index[reader]]
            else:
                layer, group, letter = reader.split(".")
                heads = [2 * int(group[2:]), 2 * int(group[2:]) + 1]
                expected = sum(many.score[:, many.graph.reader_index[f"{layer}.{head}.{letter}"]] for head in heads)
            assert torch.allclose(few.score[:, column], expected, atol=1e-4, equal_nan=True), (method, reader)


def test_result_is_a_table_a_circuit_and_a_file(tmp_path: Any) -> None:
    model, task = tiny("gpt2"), pairs()
    scores = score_edges(model, task, "eap")
    assert scores.settings["planned_bytes"] == memory_plan(model, task, scores.graph).bytes
    frame = scores.to_frame()
    assert list(frame.columns) == ["writer", "reader", "score", "std"]
    assert len(frame) == scores.graph.n_edges
    circuit = scores.top(n_edges=20)
    assert circuit.n_edges == 20
    chosen = scores.score[circuit.mask].abs()
    assert float(chosen.min()) >= float(scores.score[scores.graph.exists & ~circuit.mask].abs().max())
    signed = scores.top(n_edges=5, by="signed")
    assert bool((scores.score[signed.mask] > 0).all())
    again = load(scores.save(tmp_path / "scores"))
    assert isinstance(again, EdgeScores)
    assert again.equal(scores)
    assert again.top(n_edges=20).equal(circuit)
    assert scores.figure() is not None
    # `top` is a circuit; what is shown below the figure is still a table.
    assert list(scores.leading(3).columns) == ["writer", "reader", "value"]
    assert "no table" not in scores._repr_html_()


def test_mistakes_are_refused_in_words() -> None:
    model, task = tiny("gpt2"), pairs()
    clean = task.clean.as_subclass(Tensor)
    same = from_tokens(clean, clean, task.answers, task.distractors)
    cases: list[tuple[str, dict[str, Any], PromptPairs]] = [
        ("no method 'epa'", {"method": "epa"}, task),
        ("are the same", {"method": "eap"}, same),
        ("one pair", {"method": "eap"}, task[0]),
        ("no gradient", {"method": "eap"}, task.with_metric("accuracy")),
        ("at is 'clean'", {"method": "eap", "at": "both"}, task),
        ("at least 1", {"method": "eap-ig", "steps": 0}, task),
        ("leave edges out", {"method": "eap", "edges": [("embed", "logits")]}, task),
        ("no edges were given", {"method": "exact", "edges": []}, task),
        ("no writer", {"method": "exact", "edges": [("a7.7", "logits")]}, task),
        ("no option of eap", {"method": "eap", "thorough": True}, task),
        ("takes at least", {"method": "eap", "memory_budget": 1000}, task),
        ("no role", {"method": "eap", "graph": Graph.of(model, ("IO",))}, task),
        ("another model", {"method": "eap", "graph": Graph.of(TINY["gpt2"](seed=3))}, task),
    ]
    for message, settings, prompts in cases:
        with pytest.raises(InputError, match=message):
            score_edges(model, prompts, **settings)
    scores = score_edges(model, task, "eap")
    with pytest.raises(InputError, match="n_edges=9999"):
        scores.top(n_edges=9999)
    with pytest.raises(InputError, match="no order"):
        scores.top(n_edges=5, by="size")


def test_a_few_edges_are_drawn_as_a_graph_and_many_without_one_that_hides_the_others() -> None:
    model = induction.build()
    scores = score_edges(model, interp.tasks.for_toy(model, n=2), "exact", edges=[("a1.0", "logits")])
    assert scores.plots[0].kind == "graph"
    texts = str(scores.figure(0).to_plotly_json()["data"])
    assert "a1.0 → logits" in texts
    data = torch.rand(40, 40, generator=torch.Generator().manual_seed(0))
    data[3, 7] = 1000.0
    values = Values(data, (Axis("writer", tuple(range(40))), Axis("reader", tuple(range(40)))), "logits", "a score")
    plot = plot_of(pairs(n=2), "eap", "clean", values, effects=True, some=False)
    limit = float(plot.options["colour_limit"])
    assert 0.9 < limit < 1
    assert int((data > limit).sum()) == pytest.approx(0.01 * data.numel(), abs=1)
    assert f"size of {limit:.2g}, which 1 %" in plot.caption


def test_prompts_of_unequal_length_need_roles() -> None:
    model = tiny("gpt2")
    clean, corrupt = random_tokens(2, 8), random_tokens(2, 8, seed=1)
    task = from_tokens(clean, corrupt, clean[:, :1], corrupt[:, :1], corrupt_lengths=[7, 8])
    with pytest.raises(InputError, match="over positions"):
        score_edges(model, task, "eap")
    placed = score_edges(model, task, "eap", graph=Graph.of(model, ("end",)))
    assert not bool(placed.score[placed.graph.exists].isnan().any())
    with pytest.raises(InputError, match="no path"):
        score_edges(model, task, "eap-ig", graph=Graph.of(model, ("end",)))


@pytest.mark.parametrize("n_edges", [2.5, "3", None, True])
def test_a_number_of_edges_is_whole(n_edges: Any) -> None:
    scores = score_edges(induction.build(), interp.tasks.for_toy("toy/induction", n=2), "eap")
    with pytest.raises(InputError, match="n_edges is a whole number of edges, 1 to 29, not"):
        check_size(n_edges, scores.score)


def test_prompts_of_another_toy_are_refused() -> None:
    model, task = induction.build(), interp.tasks.for_toy("toy/and", n=4)
    for ask in (lambda: score_edges(model, task, "eap"), lambda: search(model, task, "acdc", threshold=0.1)):
        with pytest.raises(InputError, match="the prompts were made for toy/and and mean nothing to toy/induction"):
            ask()
    with pytest.raises(InputError, match="made for toy/and"):
        evaluate(model, task, Circuit.full(Graph.of(model)))


@pytest.mark.parametrize("method", ["ifr", "eap"])
def test_weights_that_are_no_numbers_are_refused(method: str) -> None:
    model = induction.build()
    parameters = dict(model.original_model.named_parameters())
    with torch.no_grad():
        next(value for name, value in parameters.items() if "embed" in name).fill_(float("nan"))
    with pytest.raises(InputError, match="is nan for prompt 0"):
        score_edges(model, interp.tasks.for_toy("toy/induction", n=2), method)


@pytest.mark.parametrize("method", ["eap", "exact", "ifr", "edge-pruning"])
def test_settings_hold_the_batch_size_that_was_used(method: str) -> None:
    model, task = induction.build(), interp.tasks.for_toy("toy/induction", n=3)
    options = {"n_steps": 1} if method == "edge-pruning" else {}
    assert score_edges(model, task, method, **options).settings["batch_size"] == 3
    assert score_edges(model, task, method, batch_size=2, **options).settings["batch_size"] == 2


def test_a_tiny_budget_is_told_in_bytes() -> None:
    with pytest.raises(InputError, match=r"takes at least \d+ bytes and the budget is 1000 bytes; give a larger"):
        score_edges(induction.build(), interp.tasks.for_toy("toy/induction", n=2), "eap", memory_budget=1000)
