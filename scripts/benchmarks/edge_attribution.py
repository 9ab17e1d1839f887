"""What `interp.circuits.score_edges` costs: against its floor, against TransformerLens, and in memory.

    python scripts/benchmarks/edge_attribution.py --models gpt2-small-shaped smollm2-135m --rounds 7

Over IOI pairs, in one process, in turn; ratios are medians of the ratios of each round. The floor of EAP is two forward
passes and one backward pass of the same batch, that of EAP-IG with m steps m forward and backward passes and one
forward pass: the model's own, over all tokens of the prompts, without gradients at weights, and (as ours) with no more
of the vocabulary than the metric reads; "full" is a floor with all logits. TransformerLens attributes edges on models
without grouped keys only, one pair at a time. Memory is the most that is allocated at once beside the weights, as
PyTorch's profiler counts it. gpt2-small-shaped has random weights; what it costs does not depend on them.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TQDM_DISABLE", "1")  # the peer's progress bars

import torch
import transformers
from torch import Tensor
from transformer_lens.tools.analysis.attribution_patching import EdgeAttributionConfig, attribution_patch

sys.path.append(str(Path(__file__).resolve().parents[1]))
from timing import timed

import interp
from interp.circuits import Graph, memory_plan, score_edges
from interp.hooks.partial import hooked, run
from interp.hooks.sites import hook_point, resid_pre
from interp.patching.packing import DEFAULT_BUDGET
from interp.tasks import PromptPairs

STEPS = 5


def main() -> None:
    """Run every comparison and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["gpt2-small-shaped", "smollm2-135m"])
    parser.add_argument("--n", type=int, default=8, help="IOI pairs (default 8)")
    parser.add_argument("--rounds", type=int, default=5, help="times each is run, in turn (default 5)")
    parser.add_argument("--peer-rounds", type=int, default=1, help="times TransformerLens is run (default 1)")
    parser.add_argument("--corruption", default="abc")
    options = parser.parse_args()
    words = interp.load_model("smollm2-135m")
    task = interp.tasks.ioi(words, n=options.n, corruption=options.corruption)
    for name in options.models:
        model = words if name == "smollm2-135m" else gpt2_shaped() if name == "gpt2-small-shaped" else None
        model = interp.load_model(name) if model is None else model
        print(f"{name}, {len(task)} IOI pairs, {int(task.lengths.max())} tokens, {torch.get_num_threads()} threads")
        against_floor(model, task, options.rounds)
        memory(model, task)
        if options.peer_rounds and Graph.of(model).n_heads == Graph.of(model).n_key_value_heads:
            against_peer(model, task, options.peer_rounds)


def gpt2_shaped() -> Any:
    """GPT-2 small's shape with random weights."""
    torch.manual_seed(0)
    config = transformers.GPT2Config(attn_implementation="eager")
    return interp.load_model(transformers.GPT2LMHeadModel(config))


def against_floor(model: Any, task: PromptPairs, rounds: int) -> None:
    """Time ours, the floor and the floor with all logits in turn."""
    graph = Graph.of(model)
    cases: dict[str, tuple[Callable[[], Any], Callable[[bool], Any]]] = {
        "eap": (
            lambda: score_edges(model, task, "eap", graph=graph),
            lambda full: floor(model, task, 1, full),
        ),
        f"eap-ig, {STEPS} steps": (
            lambda: score_edges(model, task, "eap-ig", steps=STEPS, graph=graph),
            lambda full: floor(model, task, STEPS, full),
        ),
    }
    for name, (ours, least) in cases.items():
        ours(), least(False)  # warm-up
        times = [(timed(ours), timed(least, False), timed(least, True)) for _ in range(rounds)]
        for clock, which in (("wall", 0), ("CPU", 1)):
            mine, narrow, full = ([t[which] for t in column] for column in zip(*times))
            seconds = f"{statistics.median(mine):6.2f} s   floor {statistics.median(narrow):6.2f} s"
            ratios = f"ratio {ratio(mine, narrow):.2f}   against the floor with all logits {ratio(mine, full):.2f}"
            print(f"  {name:16s} {clock:4s} {seconds}   {ratios}", flush=True)


def floor(model: Any, task: PromptPairs, steps: int, full: bool) -> None:
    """`steps` forward and backward passes and one more forward pass, over the whole batch."""
    clean, corrupt = (tokens.as_subclass(Tensor)[:, : int(task.lengths.max())] for tokens in (task.clean, task.corrupt))
    leaf: list[Tensor] = []

    def begin(value: Tensor) -> Tensor:
        leaf.append(value.detach().clone().requires_grad_(True))
        return leaf[-1]

    def scores(tokens: Tensor) -> Tensor:
        return (
            task.metric(run(model, tokens))
            if full
            else task.metric.score(run(model, tokens, readout=task.metric.readout))
        )

    with torch.no_grad():
        scores(corrupt)
    for _ in range(steps):
        with torch.enable_grad(), hooked(hook_point(model, resid_pre(0)), begin):
            total = scores(clean).sum()
        torch.autograd.grad(total, leaf[-1])


def against_peer(model: Any, task: PromptPairs, rounds: int) -> None:
    """Time TransformerLens's edge attribution of single pairs and ours of the batch."""
    model.requires_grad_(True)  # it asks for weights with gradients
    theirs = []
    for i in range(rounds):
        pair = task[i % len(task)]
        stop = int(pair.lengths[0])
        sides = [tokens.as_subclass(Tensor)[:, :stop] for tokens in (pair.clean, pair.corrupt)]
        config = EdgeAttributionConfig(granularity="edge")
        theirs.append(timed(attribution_patch, model, *sides, partial(first_score, pair), config))
    model.requires_grad_(False)
    model.zero_grad()
    graph = Graph.of(model)
    ours = [timed(lambda: score_edges(model, task, "eap", at="corrupt", graph=graph)) for _ in range(max(3, rounds))]
    for clock, which in (("wall", 0), ("CPU", 1)):
        peer, mine = statistics.median(t[which] for t in theirs), statistics.median(t[which] for t in ours) / len(task)
        print(
            f"  TransformerLens  {clock:4s} {peer:6.2f} s a pair   ours {mine:6.2f} s a pair   {peer / mine:5.1f}x",
            flush=True,
        )


def first_score(pair: PromptPairs, logits: Tensor) -> Tensor:
    """The metric of a single pair, as a scalar."""
    return pair.metric(logits)[0]


def memory(model: Any, task: PromptPairs) -> None:
    """The most that is allocated at once, and what was announced, for two budgets."""
    graph = Graph.of(model)
    for method, steps in (("eap", 1), ("eap-ig", STEPS)):
        for budget in (DEFAULT_BUDGET, 250 * 2**20):
            plan = memory_plan(model, task, graph, steps=steps, memory_budget=budget)
            work = partial(score_edges, model, task, method, steps=steps, graph=graph, memory_budget=budget)
            peak = most_allocated(work)
            print(
                f"  {method:16s} budget {budget / 2**20:5.0f} MB   announced {plan.bytes / 2**20:5.0f} MB "
                f"({plan.prompts} prompts, {plan.runs} runs a pass)   allocated {peak / 2**20:5.0f} MB",
                flush=True,
            )


def most_allocated(work: Callable[[], Any]) -> int:
    """The most bytes that tensors made inside `work` take at once."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profiled:
        work()
    events = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    alive = least = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        alive += event.nbytes()
        least = min(least, alive)  # tensors from before may be freed inside
        most = max(most, alive - least)
    return most


def ratio(mine: list[float], least: list[float]) -> float:
    """The median of the ratios of each round."""
    return statistics.median(a / b for a, b in zip(mine, least))


if __name__ == "__main__":
    main()
