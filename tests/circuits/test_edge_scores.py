"""Edge scores against closed forms, exact patching, TransformerLens, and themselves in other pieces."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from torch import Tensor
from transformer_lens.tools.analysis.attribution_patching import EdgeAttributionConfig, attribution_patch

import interp
from interp.circuits import EdgeScores, Graph, score_edges
from interp.errors import InputError
from interp.models.toy import induction, linear
from interp.results import load
from interp.tasks import PromptPairs, from_tokens
from tests.circuits.one_reader_at_a_time import OneReaderAtATime
from tests.models.edge_patching import exact_effects
from tests.tiny_models import TINY, boot, plain_llama, random_tokens, tiny

GRADIENT_METHODS = ("eap", "eap-ig", "eap-ig-activations", "eap-qk-fix")


def pairs(n: int = 3, n_pos: int = 9, first: int = 2, seed: int = 0) -> PromptPairs:
    """Random prompts of different lengths whose corruption starts at position `first`."""
    clean, corrupt = random_tokens(n, n_pos, seed), random_tokens(n, n_pos, seed + 1)
    corrupt[:, :first] = clean[:, :first]
    lengths = torch.tensor([n_pos - i % 3 for i in range(n)])
    answers = random_tokens(n, 2, seed + 2)
    positions = {"mid": torch.full((n,), 3)}
    return from_tokens(
        clean, corrupt, answers[:, :1], answers[:, 1:], lengths=lengths, corrupt_lengths=lengths, positions=positions
    )


def exact_by_hand(model: Any, task: PromptPairs, edges: list[tuple[str, str]], at: str) -> Tensor:
    """[edge, example], one edge at a time through the model's own modules."""
    slow = OneReaderAtATime(model)
    clean, corrupt = (task.clean, task.metric), (task.corrupt, task.corrupt_metric)
    (own, metric), (other, _) = (clean, corrupt) if at == "clean" else (corrupt, clean)
    logits, _ = slow.run(own)
    _, written = slow.run(other)
    sign = 1.0 if at == "clean" else -1.0
    return torch.stack([sign * (metric(logits) - metric(slow.run(own, [edge], written)[0])) for edge in edges])


# ---- closed forms and exact patching -------------------------------------------------------------------------------


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


def test_induction_table() -> None:
    """The hand-built induction model at two sharpnesses: saturated attention has no gradient."""
    expected = {
        20.0: {"eap": [0, 0, 0, 20, 20], "eap-qk-fix": [0, 10, 10, 20, 20], "exact": [10, 10, 10, 20, 20]},
    }
    model = induction.build()
    task = interp.tasks.for_toy(model, n=4)
    for method, effects in expected[20.0].items():
        scores = score_edges(model, task, method)
        found = [float(scores.score[scores.graph.edge_index(edge)]) for edge in induction.CIRCUIT]
        assert found == pytest.approx(effects, abs=1e-3), method
        others = ~scores.graph.exists
        for edge in induction.CIRCUIT:
            others[scores.graph.edge_index(edge)] = True
        assert float(scores.score[~others].abs().max()) < 1e-3, method


def test_integrated_gradients_see_a_part_of_saturated_attention() -> None:
    for beta, plain_sees in ((20.0, False), (6.0, True)):
        model = induction.build(beta=beta)
        task = interp.tasks.for_toy("toy/induction", n=4)
        query = score_edges(model, task, "eap").graph.edge_index(("embed", "a1.0.q"))
        plain, integrated = (score_edges(model, task, method).score[query] for method in ("eap", "eap-ig"))
        assert (float(plain) > 1.0) == plain_sees
        assert float(integrated) > 0.04


@pytest.mark.parametrize(("name", "at"), [*((name, "clean") for name in TINY), ("llama", "corrupt")])
def test_exact_is_one_edge_at_a_time(name: str, at: str) -> None:
    model, task = tiny(name), pairs()
    graph = Graph.of(model)
    every = graph.exists.nonzero()
    some = every[torch.randperm(len(every), generator=torch.Generator().manual_seed(0))[:5]].tolist()
    edges = [(graph.writers[row], graph.readers[column]) for row, column in some]
    scores = score_edges(model, task, "exact", at=at, edges=edges, keep_examples=True)
    found = torch.stack([scores.per_example.data[:, row, column] for row, column in some])
    expected = exact_by_hand(model, task, edges, at)
    assert torch.allclose(found, expected, atol=1e-4 * float(expected.abs().max()) + 1e-5)
    assert int((~scores.score.isnan()).sum()) == len(edges)


def test_exact_agrees_with_an_independent_decoder() -> None:
    for toy in (induction, linear):
        model = toy.build()
        drawn = toy.pairs(3, 0)
        task = interp.tasks.for_toy(model, n=3)
        scores = score_edges(model, task, "exact", keep_examples=True)
        slow = exact_effects(model, drawn, toy.TRUTH.edges, "resample", "noise")
        for edge, effect in slow.items():
            row, column = scores.graph.edge_index(edge)
            assert torch.allclose(scores.per_example.data[:, row, column].double(), torch.tensor(effect), atol=1e-4)


# ---- small changes: every estimate is right to first order ----------------------------------------------------------


@pytest.mark.parametrize("name", TINY)
def test_estimates_equal_derivatives_by_finite_differences(name: str) -> None:
    """Exact patching with a small part of the difference."""
    model, task = tiny(name), pairs(n=2)
    scores = score_edges(model, task, "eap", keep_examples=True)
    slow = OneReaderAtATime(model)
    _, own = slow.run(task.clean)
    _, other = slow.run(task.corrupt)
    size = 5e-3
    graph = scores.graph
    every = graph.exists.nonzero()
    some = every[torch.randperm(len(every), generator=torch.Generator().manual_seed(1))[:4]].tolist()
    for row, column in some:
        edge = (graph.writers[row], graph.readers[column])
        ends = []
        for step in (size, -size):
            moved = {writer: value + step * (other[writer] - value) for writer, value in own.items()}
            ends.append(task.metric(slow.run(task.clean, [edge], moved)[0]))
        slope = (ends[1] - ends[0]) / (2 * size)
        found = scores.per_example.data[:, row, column]
        assert torch.allclose(found, slope, atol=0.02 * float(slope.abs().max()) + 2e-3), edge


# ---- TransformerLens ------------------------------------------------------------------------------------------------


def transformer_lens_scores(model: Any, task: PromptPairs) -> Tensor:
    """Its edge attribution, summed over positions: [writers, readers]."""
    graph = Graph.of(model)
    total = torch.zeros(len(graph.writers), len(graph.readers))
    for i in range(len(task)):
        pair = task[i]
        stop = int(pair.lengths[0])
        clean, corrupt = (x.as_subclass(Tensor)[:, :stop] for x in (pair.clean, pair.corrupt))
        made = attribution_patch(
            model, clean, corrupt, lambda logits, pair=pair: pair.metric(logits)[0],
            config=EdgeAttributionConfig(granularity="edge"),
        )  # fmt: skip
        for (writer, reader), score in made.edge_scores.items():
            row = graph.writer_index[
                {"embed": "embed", "mlp_out": f"m{writer.layer}"}.get(writer.kind, f"a{writer.layer}.{writer.head}")
            ]
            name = {"mlp_in": f"m{reader.layer}", "logits": "logits"}.get(
                reader.kind, f"a{reader.layer}.{reader.head}.{reader.kind[0]}"
            )
            total[row, graph.reader_index[name]] += score / len(task)
    return total


@pytest.mark.parametrize("first", [0, 2])
def test_equals_transformer_lens(first: int) -> None:
    model, task = tiny("gpt2"), pairs(first=first)
    ours = score_edges(model, task, "eap", at="corrupt").score.nan_to_num()
    theirs = transformer_lens_scores(TINY["gpt2"]().requires_grad_(True), task)  # it asks for weights with gradients
    assert float((ours - theirs).abs().max()) < 1e-5 * max(1.0, float(theirs.abs().max()))
    assert float(theirs.abs().max()) > 0.1


# ---- the same in other pieces ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_batches_and_tiles_of_any_size_give_the_same(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, task = tiny("llama"), pairs(n=4)
    whole = score_edges(model, task, method, keep_examples=True)
    monkeypatch.setattr("interp.circuits.memory.MOST_TILE_TOKENS", 3)
    monkeypatch.setattr("interp.circuits.memory.MOST_PASS_TOKENS", 20)
    pieces = score_edges(model, task, method, batch_size=1, keep_examples=True)
    assert torch.allclose(whole.per_example.data, pieces.per_example.data, atol=1e-4, equal_nan=True)
    assert torch.allclose(whole.values["std"].data, pieces.values["std"].data, atol=1e-4, equal_nan=True)
    assert torch.allclose(whole.score, whole.per_example.data.mean(0), atol=1e-5, equal_nan=True)
    assert torch.allclose(whole.values["std"].data, whole.per_example.data.std(0), atol=1e-4, equal_nan=True)


@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_roles_add_up_to_the_whole_when_they_are_all_positions(method: str) -> None:
    """A graph over every position: edges of all positions together make the plain score (queries and keys: linear)."""
    model = tiny("gpt2")
    task = all_roles(pairs(n=2, n_pos=7), 5)
    roles = tuple(f"p{i}" for i in range(5))
    if method == "eap-qk-fix":
        pytest.skip("not linear in positions")
    plain = score_edges(model, task, method)
    placed = score_edges(model, task, method, graph=Graph.of(model, roles))
    summed = placed.score.nan_to_num().unflatten(0, (-1, 5)).unflatten(2, (-1, 5)).sum((1, 3))
    assert torch.allclose(summed, plain.score.nan_to_num(), atol=1e-4)


def all_roles(task: PromptPairs, n: int) -> PromptPairs:
    """The task's first n tokens, every position a role."""
    roles = {f"p{i}": torch.full((len(task),), i) for i in range(n)}
    clean, corrupt = (tokens.as_subclass(Tensor)[:, :n] for tokens in (task.clean, task.corrupt))
    return from_tokens(clean, corrupt, task.answers, task.distractors, positions=roles)


def test_query_key_fix_at_one_role_is_exact_where_the_model_is_linear_behind_it() -> None:
    model = induction.build()
    task = interp.tasks.for_toy(model, n=2)
    scores = score_edges(model, task, "eap-qk-fix", graph=Graph.of(model, ("end",)))
    assert float(scores.score[scores.graph.edge_index(("embed@end", "a1.0.q@end"))]) == pytest.approx(10.0, abs=1e-3)


# ---- grouped keys and values ----------------------------------------------------------------------------------------


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


# ---- integrals ------------------------------------------------------------------------------------------------------


def test_integral_over_an_edges_own_writer_converges_to_the_exact_effect() -> None:
    """Into the logits nothing but the edge lies on the path, so the integral over activations is exact there."""
    model, task = tiny("native"), pairs()
    graph = Graph.of(model)
    edges = [(f"m{graph.n_layers - 1}", "logits")]
    exact = score_edges(model, task, "exact", edges=edges, keep_examples=True).per_example.data
    row, column = graph.edge_index(edges[0])
    errors = []
    for steps in (1, 4, 16):
        found = score_edges(model, task, "eap-ig-activations", steps=steps, keep_examples=True).per_example.data
        errors.append(float((found - exact)[:, row, column].abs().max()))
    assert errors[2] < 0.1 * errors[0]
    assert errors[2] < 2e-3 * float(exact[:, row, column].abs().max())


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


# ---- the result -----------------------------------------------------------------------------------------------------


def test_result_is_a_table_a_circuit_and_a_file(tmp_path: Any) -> None:
    model, task = tiny("gpt2"), pairs()
    scores = score_edges(model, task, "eap")
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
