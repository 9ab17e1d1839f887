"""Faithfulness, knock-outs, completeness, minimality: by algebra on a hand-built model, by the slow twin on others."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from interp.circuits import (
    HeadCircuit,
    group_means,
    head_completeness,
    head_faithfulness,
    head_knock_outs,
    head_minimality,
)
from interp.circuits.head_level.ablated_runs import EVERYTHING, NOTHING, Kept
from interp.circuits.head_level.random_circuits import random_circuits
from interp.circuits.head_level.resampling import interval_of, shares_of, size_interval
from interp.errors import InputError
from interp.models import load_model
from interp.models.toy.induction import GAIN, pairs
from interp.results import load
from interp.tasks import PromptPairs, from_tokens
from tests.circuits.one_model_at_a_time import circuit, grouped_pairs, scores
from tests.tiny_models import tiny

BETA, N_TOKENS = 20.0, 12


@pytest.fixture(scope="module")
def toy() -> Any:
    return load_model("toy/induction")


def toy_task(n: int = 4) -> PromptPairs:
    """The prompts of the hand-built induction model; "after" is the token that follows the last one's first copy."""
    clean, corrupt, answers, distractors = pairs(n, 0)
    positions = {"after": [N_TOKENS + 1] * n}
    return from_tokens(clean, corrupt, answers, distractors, positions=positions, prepend_bos=True, name="toy")


def toy_reference() -> Any:
    """Every token once at every position: heads mix it to the plain average of what they may read."""
    tokens = torch.stack([1 + torch.arange(N_TOKENS).roll(i) for i in range(N_TOKENS)])
    whole = torch.cat([torch.zeros(N_TOKENS, 1, dtype=torch.long), tokens, tokens], dim=1)
    task = from_tokens(whole, whole, [1] * 12, [2] * 12, positions={"after": [N_TOKENS + 1] * 12})
    return task.corrupt


TRUE = HeadCircuit(
    {"previous token": ((0, 0),), "induction": ((1, 0),)}, {"previous token": ("after",), "induction": ("end",)}
)
# A mean key matches any query by a twelfth of BETA. It stands at every token whose 0.0 is knocked out, but for the
# first two, whose previous token is BOS in every prompt. The answer is the token at "after", and the second token.
WEIGHT = math.exp(BETA / N_TOKENS)
AFTER_MEAN = GAIN * (WEIGHT + 1 - 2) / (WEIGHT + 2 * N_TOKENS)  # 0.0 knocked out at "after" alone
ALL_MEAN = GAIN * (WEIGHT + 1 - 2 * WEIGHT) / (2 + (2 * N_TOKENS - 1) * WEIGHT)  # 0.0 knocked out everywhere


def test_the_true_circuit_of_the_toy_is_faithful_and_nothing_else_is(toy: Any) -> None:
    parts = {
        "true": TRUE,
        "without previous": TRUE.without("0.0"),
        "without induction": TRUE.without("1.0"),
        "wrong": HeadCircuit({"x": ((0, 1), (1, 1))}, {"x": ("after", "end")}),
        "more": TRUE.with_heads("x", ((0, 1), (1, 1)), "end"),
    }
    found = head_faithfulness(toy, toy_task(), parts, toy_reference(), n_random=0)
    expected = torch.tensor([1.0, ALL_MEAN / GAIN, 0.0, 0.0, 1.0])
    assert torch.allclose(found.values["faithfulness"].data, expected, atol=1e-5)
    assert torch.allclose(found.values["distance"].data, GAIN * (1 - expected), atol=1e-4)
    ends = found.sel(run=["whole model", "nothing kept"]).values["F"].data
    assert torch.allclose(ends, torch.tensor([GAIN, 0.0]), atol=1e-4)
    assert torch.allclose(found.values["size"].data[:2], torch.tensor([2.0, 1.0]) / (4 * 25))


def test_the_random_circuit_of_the_toy_does_nothing(toy: Any) -> None:
    found = head_faithfulness(toy, toy_task(), TRUE, toy_reference(), n_random=3)
    assert torch.allclose(found.values["random"].data, torch.zeros(1, 3), atol=1e-5)
    assert torch.allclose(found.values["p_value"].data, torch.tensor([[0.25, 0.25]]))
    assert found.settings["random_circuits"]["circuit"]["draws"] == [["0.1", "1.1"]] * 3  # type: ignore[index]


def test_incompleteness_of_the_toy_is_what_the_softmax_says(toy: Any) -> None:
    found = head_completeness(toy, toy_task(), TRUE, toy_reference(), n_sets=2, n_steps=2)
    points = {name: found.sel(knocked_out=name).values for name in ("nothing", "previous token", "induction", "greedy")}
    assert torch.allclose(points["nothing"]["points"].data, torch.tensor([GAIN, GAIN]), atol=1e-4)
    assert torch.allclose(points["previous token"]["points"].data, torch.tensor([AFTER_MEAN, ALL_MEAN]), atol=1e-3)
    assert torch.allclose(points["induction"]["points"].data, torch.zeros(2), atol=1e-4)
    assert float(points["greedy"]["incompleteness"].data) == pytest.approx(AFTER_MEAN - ALL_MEAN, abs=1e-3)
    assert found.settings["sets"]["greedy"]["heads"] == ["0.0"]  # type: ignore[index]


def test_both_heads_of_the_toy_are_needed_and_others_are_named(toy: Any) -> None:
    more = TRUE.with_heads("idle", ((0, 1), (1, 1)), "end")
    found = head_minimality(toy, toy_task(), more, toy_reference())
    expected = torch.tensor([1 - ALL_MEAN / GAIN, 1.0, 0.0, 0.0])
    assert torch.allclose(found.values["minimality"].data, expected, atol=1e-5)
    assert found.below() == ["0.1", "1.1"]
    assert found.below(0.0) == []


def test_heads_that_stand_in_for_each_other_show_when_the_other_is_gone(toy: Any) -> None:
    """Two heads of one class that do the same: neither is needed while the other is there."""
    model, task = tiny("llama"), grouped_pairs()
    twins = circuit(end="2.1 2.3", first="0.1")
    reference = grouped_pairs(5, seed=1).corrupt
    found = head_minimality(model, task, twins, reference, threshold=1e9)
    rules = {name: chosen["rule"] for name, chosen in found.settings["sets"].items()}  # type: ignore[union-attr]
    assert set(rules.values()) <= {"nothing", "rest of its class", "greedy"}
    assert "greedy" in rules.values()
    for name, chosen in found.settings["sets"].items():  # type: ignore[union-attr]
        others = chosen["heads"]
        pair = [Kept.only(twins.without(*others)), Kept.only(twins.without(*others, name))]
        with_head, without = (scores(model, task, reference, kept) for kept in pair)
        one = found.sel(head=name).values
        assert torch.allclose(one["per_prompt"].data, with_head - without, atol=1e-4)
        # The search may not end with less than it began with.
        assert float(one["minimality"].data) >= abs(float(one["alone"].data)) - 1e-5


@pytest.fixture(scope="module")
def llama() -> tuple[Any, PromptPairs, Any, HeadCircuit]:
    return tiny("llama"), grouped_pairs(), grouped_pairs(5, seed=1).corrupt, circuit(first="0.1 1.2", end="2.1 3.3")


def test_faithfulness_is_of_the_right_runs(llama: tuple) -> None:
    model, task, reference, chosen = llama
    found = head_faithfulness(model, task, chosen, reference, n_random=4, n_random_prompts=5)
    kept = [EVERYTHING, Kept.only(chosen), NOTHING]
    whole, alone, nothing = (scores(model, task, reference, one) for one in kept)
    assert torch.allclose(found.per_example.data, torch.stack([whole, alone, nothing]), atol=1e-4)
    values = found.values
    assert float(values["faithfulness"].data) == pytest.approx(float(alone.mean() / whole.mean()), rel=1e-3)
    assert float(values["distance"].data) == pytest.approx(abs(float((whole - alone).mean())), rel=1e-3)
    assert values["low"].data < values["faithfulness"].data < values["high"].data
    draws = found.settings["random_circuits"]["circuit"]["draws"]  # type: ignore[index]
    partner = dict(zip(chosen.all_heads, (tuple(map(int, name.split("."))) for name in draws[2])))
    others = {name: tuple(partner[head] for head in group) for name, group in chosen.heads.items()}
    drawn = HeadCircuit(others, chosen.positions)
    assert [head[0] for head in partner.values()] == [head[0] for head in partner]
    assert not {*partner.values()} & {*chosen.all_heads}
    one = scores(model, task[:5], reference, Kept.only(drawn))
    assert torch.allclose(values["random_per_prompt"].data[0, 2], one, atol=1e-4)
    random = values["random"].data[0]
    beaten = (1 + int((random >= alone[:5].mean()).sum())) / 5
    assert float(values["p_value"].sel(test="F at least as large").data) == pytest.approx(beaten)


def test_knock_outs_are_of_the_right_runs(llama: tuple) -> None:
    model, task, reference, chosen = llama
    found = head_knock_outs(model, task, chosen, reference, n_random=2)
    sets = [chosen.without(*chosen.all_heads), chosen.only("first"), chosen.only("end"), chosen]
    expected = torch.stack([scores(model, task, reference, Kept.all_but(one)) for one in sets])
    assert list(found.values["F"].axis("knocked_out").labels) == ["nothing", "first", "end", "whole circuit"]
    assert torch.allclose(found.per_example.data, expected, atol=1e-4)
    assert found.sel(knocked_out="nothing", heads="random").values["F"].data.isnan()
    assert not found.sel(knocked_out="end", heads="random").values["F"].data.isnan()
    alone = head_knock_outs(model, task, chosen, reference, n_random=0)
    assert alone.sel(heads="random").values["F"].data.isnan().all()
    assert alone.values["p_value"].data.isnan().all()


def test_completeness_is_of_the_right_runs(llama: tuple) -> None:
    model, task, reference, chosen = llama
    found = head_completeness(model, task, chosen, reference, n_sets=3, n_steps=3, search=grouped_pairs(2, seed=3))
    sets: Any = found.settings["sets"]
    for i, named in enumerate(sets.values()):
        pair = [Kept.all_but(chosen.only(*named["heads"])), Kept.only(chosen.without(*named["heads"]))]
        expected = torch.stack([scores(model, task, reference, kept) for kept in pair])
        assert torch.allclose(found.per_example.data[i], expected, atol=1e-4)
    score = (found.per_example.data[:, 1] - found.per_example.data[:, 0]).mean(-1).abs()
    assert torch.allclose(found.values["incompleteness"].data, score)
    assert (found.values["low"].data <= score).all()
    assert (score <= found.values["high"].data).all()
    steps: Any = found.settings["search"]["steps"]  # type: ignore[index]
    best = max(range(3), key=lambda i: steps[i]["score"])
    assert sets["greedy"]["heads"] == [step["head"] for step in steps[: best + 1]]
    assert found.settings["search"]["separate"] is True  # type: ignore[index]


def test_results_say_their_ablation_and_come_back_equal(llama: tuple, tmp_path: Path) -> None:
    model, task, reference, chosen = llama
    means = group_means(model, reference, source={"from": "another seed"})
    made = [
        head_faithfulness(model, task, chosen, means, n_random=2),
        head_knock_outs(model, task, chosen, means, n_random=2),
        head_completeness(model, task, chosen, means, n_sets=1, n_steps=1),
        head_minimality(model, task, chosen, means, n_steps=1),
    ]
    for result in made:
        told: Any = result.settings["ablation"]
        assert told["reference"]["from"] == "another seed"
        assert told["reference"]["smallest_group"] == 5
        assert "mean per group and position" in told["value"]
        assert "over 15 other prompts (at least 5 a group)" in result.plots[0].caption
        assert load(result.save(tmp_path / result.kind)).equal(result)
        assert result.figure().data


def test_an_empty_circuit_keeps_nothing(llama: tuple) -> None:
    model, task, reference, chosen = llama
    empty = chosen.without(*chosen.all_heads)
    found = head_faithfulness(model, task, empty, reference, n_random=3)
    both = found.sel(run=["circuit", "nothing kept"]).values["F"].data
    assert both[0] == both[1]
    assert found.values["size"].data == 0
    assert "left_out" in found.settings["random_circuits"]["circuit"]  # type: ignore[operator,index]
    gap = head_completeness(model, task, empty, reference, n_sets=1).values["incompleteness"].data
    assert torch.allclose(gap, found.values["distance"].data)
    with pytest.raises(InputError, match="no heads"):
        head_minimality(model, task, empty, reference)


def test_what_does_not_exist_is_refused_before_anything_runs(llama: tuple) -> None:
    model, task, reference, _ = llama
    for evaluate in (head_faithfulness, head_knock_outs, head_completeness, head_minimality):
        with pytest.raises(InputError, match="7"):
            evaluate(model, task, circuit(end="1.7"), reference)
        with pytest.raises(InputError, match="no position 'nowhere'"):
            evaluate(model, task, circuit(nowhere="1.1"), reference)
    with pytest.raises(InputError, match="no circuit was given"):
        head_faithfulness(model, task, {}, reference)


def test_no_random_circuit_where_too_few_heads_are_left() -> None:
    model = tiny("llama")
    most = circuit(end=" ".join(f"{layer}.{head}" for layer in range(3) for head in range(4)))
    drawn, about = random_circuits(model, most, 3, 0)
    assert (drawn, about) == ([], {"n": 0, "left_out": "12 of 16 heads are in the circuit"})
    full_layer = circuit(end="1.0 1.1 1.2 1.3")
    drawn, about = random_circuits(model, full_layer, 2, 0)
    assert about["layers_matched"] is False
    assert all(len(one) == 4 and not {*one.all_heads} & {*full_layer.all_heads} for one in drawn)


def test_intervals_of_ratios_and_sizes() -> None:
    columns = torch.tensor([[1.0, 2.0], [3.0, 6.0], [2.0, 4.0], [4.0, 8.0], [5.0, 10.0]])
    low, high = interval_of(lambda means: means[..., 1:] / means[..., :1], columns)
    assert torch.allclose(low, torch.tensor([2.0]))
    assert torch.allclose(high, torch.tensor([2.0]))
    low, high = size_interval(torch.tensor([[1.0, -3.0], [-1.0, -5.0], [0.5, -4.0], [0.2, -3.5], [-0.6, -4.5]]))
    assert low[0] == 0
    assert 3 <= low[1] < 4 < high[1] <= 5
    assert interval_of(lambda means: means, columns[:1])[0].isnan().all()
    value, low, high = shares_of(columns[:, 0], columns)
    assert torch.allclose(torch.stack([value, low, high]), torch.tensor([[1.0, 2.0]] * 3))
    assert shares_of(torch.tensor([1.0, -1.0]), columns[:2])[0].isnan().all()
