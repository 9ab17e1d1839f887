"""The mask runner against a run in which one reader at a time gets its stream, and against what must hold."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import interp
from interp.circuits.circuit import Circuit
from interp.circuits.graph import Graph
from interp.circuits.masks import MaskRunner
from interp.errors import InputError
from interp.tasks import PromptPairs
from interp.tasks.token_tensors import from_tokens
from tests.circuits.one_reader_at_a_time import OneReaderAtATime
from tests.tiny_models import TINY, random_tokens, tiny

MODELS = tuple(TINY)


def pairs(n: int = 3, n_pos: int = 7, same: int = 2, seed: int = 0, lengths: Tensor | None = None) -> PromptPairs:
    """Random prompts that differ from position `same` on."""
    clean = random_tokens(n, n_pos, seed)
    corrupt = torch.cat([clean[:, :same], random_tokens(n, n_pos, seed + 1)[:, same:]], dim=1)
    answers, distractors = random_tokens(n, 1, seed + 2), random_tokens(n, 1, seed + 3)
    positions = {"middle": torch.arange(n) % 2 + 3}
    return from_tokens(
        clean, corrupt, answers, (distractors + (distractors == answers).long()) % 100, lengths=lengths,
        corrupt_lengths=lengths, positions=positions,
    )  # fmt: skip


def random_masks(graph: Graph, shares: tuple[float, ...], seed: int = 0) -> Tensor:
    """One mask a share, in which each edge is kept with that probability."""
    generator = torch.Generator().manual_seed(seed)
    draws = torch.rand(len(shares), *graph.exists.shape, generator=generator)
    return (draws < torch.tensor(shares)[:, None, None]) & graph.exists


def removed(graph: Graph, mask: Tensor) -> set[tuple[str, str]]:
    return set((~Circuit(graph, mask)).edges())


def slow(model: Any, task: PromptPairs, graph: Graph, masks: Tensor, value: str, direction: str = "noise") -> Tensor:
    twin = OneReaderAtATime(model)
    run, other = (task.clean, task.corrupt) if direction == "noise" else (task.corrupt, task.clean)
    instead = None if value == "zero" else twin.run(other)[1]
    if value == "mean" and instead is not None:
        instead = {writer: wrote.mean(0, keepdim=True).expand_as(wrote) for writer, wrote in instead.items()}
    metric = task.metric if direction == "noise" else task.corrupt_metric
    return torch.stack([metric(twin.run(run, removed(graph, mask), instead)[0]) for mask in masks])


def close(ours: Tensor, theirs: Tensor, tolerance: float = 2e-4) -> None:
    assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max()


@pytest.mark.parametrize("name", MODELS)
def test_any_circuit_scores_as_in_the_slow_twin(name: str) -> None:
    model, task = tiny(name), pairs(2)
    graph = Graph.of(model)
    masks = random_masks(graph, (0.05, 0.3, 0.95))
    runner = MaskRunner(model, task, graph)
    ours = runner.metric(masks)
    close(ours, slow(model, task, graph, masks, "counterfactual"))
    # What the circuits differ in shows in the metric, so that agreeing means something.
    assert ours.std(0).min() > 1e-2 * ours.abs().max()


@pytest.mark.parametrize("value", ["zero", "mean"])
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_other_values_stand_in_as_in_the_slow_twin(name: str, value: str) -> None:
    model, task = tiny(name), pairs()
    graph = Graph.of(model)
    masks = random_masks(graph, (0.0, 0.4))
    close(MaskRunner(model, task, graph, value=value).metric(masks), slow(model, task, graph, masks, value))


def test_denoising_runs_the_corrupt_prompts() -> None:
    model, task = tiny("llama"), pairs()
    graph = Graph.of(model)
    masks = random_masks(graph, (0.3, 0.9))
    ours = MaskRunner(model, task, graph, direction="denoise").metric(masks)
    close(ours, slow(model, task, graph, masks, "counterfactual", "denoise"))


@pytest.mark.parametrize("name", MODELS)
def test_all_edges_are_the_run_and_none_is_the_other_run(name: str) -> None:
    model, task = tiny(name), pairs()
    graph = Graph.of(model)
    runner = MaskRunner(model, task, graph)
    full, empty = runner.of_circuits([Circuit.full(graph), Circuit.empty(graph)])
    close(full, task.metric(model(task.clean.as_subclass(Tensor))))
    close(empty, task.metric(model(task.corrupt.as_subclass(Tensor))))
    close(runner.untouched(), full)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "native-rotary"])
def test_circuits_do_not_disturb_each_other(name: str) -> None:
    model, task = tiny(name), pairs()
    graph = Graph.of(model)
    masks = random_masks(graph, (0.01, 0.1, 0.5, 0.9, 1.0, 0.0))
    runner = MaskRunner(model, task, graph)
    together = runner.metric(masks)
    alone = torch.cat([runner.metric(mask[None]) for mask in masks])
    close(together, alone, 1e-5)
    close(MaskRunner(model, task, graph, batch_size=2).metric(masks), together, 1e-5)
    close(MaskRunner(model, task, graph, memory_budget=1).metric(masks), together, 1e-5)


def test_a_late_cut_starts_late(monkeypatch: pytest.MonkeyPatch) -> None:
    from interp.circuits import mask_passes

    model, task = tiny("llama"), pairs()
    graph = Graph.of(model)
    masks = graph.exists[None].clone()
    masks[0, 0, graph.reader_slice(3, "k")] = False
    starts = []
    real = mask_passes.run

    def noting(*args: Any, **keywords: Any) -> Tensor:
        starts.append(keywords["start"])
        return real(*args, **keywords)

    monkeypatch.setattr(mask_passes, "run", noting)
    close(MaskRunner(model, task, graph).metric(masks), slow(model, task, graph, masks, "counterfactual"))
    assert starts == [3]


def test_what_cannot_reach_the_logits_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from interp.circuits import mask_passes

    model, task = tiny("gpt2"), pairs()
    graph = Graph.of(model)
    monkeypatch.setattr(mask_passes.CircuitSums, "note_heads", None)  # nothing may be recorded
    monkeypatch.setattr(mask_passes.CircuitSums, "sums", None)
    dead_end = Circuit.from_edges(graph, [("embed", "a0.1.q"), ("a0.1", "m1")])
    close(MaskRunner(model, task, graph).of_circuits([dead_end])[0], task.metric(model(task.corrupt)))


def test_prompts_of_several_lengths_and_a_resample() -> None:
    lengths = torch.tensor([7, 5, 6, 7])
    model, task = tiny("gpt2"), pairs(4, lengths=lengths)
    graph = Graph.of(model)
    masks = random_masks(graph, (0.3, 0.9))
    close(MaskRunner(model, task, graph).metric(masks), slow(model, task, graph, masks, "counterfactual"))
    equal = pairs(4)
    runner = MaskRunner(model, equal, graph, value="resample", seed=3)
    from interp.circuits.ablation import resampled_rows

    rows = resampled_rows(equal, equal, 3)
    assert not bool((rows == torch.arange(4)).any())
    twin = OneReaderAtATime(model)
    instead = twin.run(equal.corrupt.as_subclass(Tensor)[rows])[1]
    theirs = [equal.metric(twin.run(equal.clean, removed(graph, mask), instead)[0]) for mask in masks]
    close(runner.metric(masks), torch.stack(theirs))


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_graph_over_positions_cuts_there_only(name: str) -> None:
    model, task = tiny(name), pairs()
    graph = Graph.of(model, positions=["middle", "end"])
    plain = graph.with_positions(None)
    masks = random_masks(graph, (0.2, 0.8))
    at = torch.zeros(task.clean.shape, dtype=torch.bool)
    at[torch.arange(3), task.positions["middle"]] = True
    # One role at a time keeps the twin simple: all edges at the other are left alone.
    masks[:, :, 1::2][:, 1::2] |= graph.exists[1::2, 1::2]
    twin = OneReaderAtATime(model)
    instead = twin.run(task.corrupt)[1]
    theirs = []
    for mask in masks:
        cut = removed(plain, mask[::2, ::2])
        theirs.append(task.metric(twin.run(task.clean, cut, instead, at)[0]))
    runner = MaskRunner(model, task, graph)
    close(runner.metric(masks), torch.stack(theirs))
    close(runner.differentiable(masks.float()), torch.stack(theirs))


@pytest.mark.parametrize("name", MODELS)
def test_the_differentiable_run_agrees_and_its_gradient_is_a_difference_quotient(name: str) -> None:
    model, task = tiny(name), pairs()
    graph = Graph.of(model)
    masks = random_masks(graph, (0.2, 0.7))
    runner = MaskRunner(model, task, graph)
    close(runner.differentiable(masks.float()), runner.metric(masks))
    soft = (0.2 + 0.6 * torch.rand(2, *graph.exists.shape, generator=torch.Generator().manual_seed(1))) * graph.exists
    soft.requires_grad_(True)
    values = runner.differentiable(soft, rows=torch.tensor([2, 0]))
    assert values.shape == (2, 2)
    (gradient,) = torch.autograd.grad(values.sum(), soft)
    assert not bool(gradient[:, ~graph.exists].any())
    direction = torch.randn(soft.shape, generator=torch.Generator().manual_seed(2)) * graph.exists
    step = 3e-3
    with torch.no_grad():
        ends = [runner.differentiable(soft + side * direction, rows=torch.tensor([2, 0])) for side in (step, -step)]
    quotient = float((ends[0] - ends[1]).sum()) / (2 * step)
    assert quotient == pytest.approx(float((gradient * direction).sum()), rel=3e-2)


def test_readouts_are_the_logits_of_the_circuit() -> None:
    model, task = tiny("gpt2"), pairs()
    task = task.with_metric("loss")
    graph = Graph.of(model)
    values = MaskRunner(model, task, graph).readouts(Circuit.empty(graph).mask[None])
    logits = model(task.corrupt.as_subclass(Tensor))[:, -1]
    assert values.shape == (1, 3, 100)
    assert torch.allclose(values[0], logits, atol=1e-4)


def test_a_toy_as_in_numpy() -> None:
    from tests.models.edge_patching import Reference, metric

    model = interp.load_model("toy/induction")
    task = interp.tasks.for_toy(model, n=4, seed=0)
    graph = Graph.of(model)
    masks = random_masks(graph, (0.2, 0.5, 0.8), seed=5)
    reference = Reference(model)
    clean, corrupt = task.clean.as_subclass(Tensor), task.corrupt.as_subclass(Tensor)
    source = reference.run(corrupt)[1]
    for value, instead in (("counterfactual", source), ("zero", None)):
        ours = MaskRunner(model, task, graph, value=value).metric(masks)
        for mask, mine in zip(masks, ours):
            logits = reference.run(clean, removed(graph, mask), instead)[0]
            theirs = torch.from_numpy(metric(logits, task.answers, task.distractors)).float()
            assert torch.allclose(mine, theirs, atol=1e-3)


def test_bad_requests_are_refused() -> None:
    model, task = tiny("gpt2"), pairs()
    with pytest.raises(InputError, match="ablation value"):
        MaskRunner(model, task, value="nought")
    with pytest.raises(InputError, match="'noise' only"):
        MaskRunner(model, task, value="zero", direction="denoise")
    with pytest.raises(InputError, match=r"another model|differ in"):
        MaskRunner(model, task, Graph.of(tiny("llama")))
    with pytest.raises(InputError, match=r"masks are \[circuit"):
        MaskRunner(model, task).metric(torch.ones(1, 3, 3, dtype=torch.bool))
    with pytest.raises(InputError, match="does not name"):
        MaskRunner(model, task, Graph.of(model, positions=["nowhere"]))
