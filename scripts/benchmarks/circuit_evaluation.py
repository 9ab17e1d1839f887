"""Evaluating circuits, many a forward pass, against plain forward passes of the same prompts, in turn.

    python scripts/benchmarks/circuit_evaluation.py --circuits 8 --rounds 3

Random edge sets of several densities are the worst case: they share no writers, and nothing in them can be skipped that
a found circuit leaves out. Prints, for each density, CPU seconds a circuit, and its ratio to one plain pass of the same
prompts (all logits, as `model(tokens)` gives them): alone, as one evaluates circuit by circuit, and folded, `circuits`
copies of the prompts in one batch. Wall times mean little on a shared machine, so CPU time is what is measured.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import interp
from interp.circuits import Graph
from interp.circuits.masks import MaskRunner


def main() -> None:
    """Run every density and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m", help="a name that interp.load_model takes")
    parser.add_argument("--pairs", type=int, default=8, help="IOI pairs (default 8)")
    parser.add_argument("--circuits", type=int, default=8, help="circuits measured together (default 8)")
    parser.add_argument("--densities", type=float, nargs="+", default=[0.003, 0.05, 0.5, 0.95, 0.999])
    parser.add_argument("--rounds", type=int, default=3, help="times each is run, in turn (default 3)")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = interp.load_model(options.model)
    task = interp.tasks.ioi(model, n=options.pairs, seed=0)
    graph = Graph.of(model)
    runner = MaskRunner(model, task, graph)
    runner.untouched()  # the runs that all circuits share, once
    n = options.circuits
    print(
        f"{options.model}: {graph.n_edges} edges, {options.pairs} pairs, {n} circuits a call, {options.threads} threads"
    )
    print("share of edges   s a circuit   of a plain pass alone   of a folded plain pass")
    for density in options.densities:
        spent = compare(model, task.clean.as_subclass(Tensor), runner, masks(graph, density, n), options.rounds)
        alone, folded, ours = spent[0], spent[1] / n, spent[2] / n
        print(f"{density:14.3f} {ours:13.3f} {ours / alone:23.2f} {ours / folded:24.2f}")


def masks(graph: Graph, density: float, n: int) -> Tensor:
    """Random edge sets, [n, writers, readers]."""
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(n, *graph.exists.shape, generator=generator) < density) & graph.exists


@torch.no_grad()
def compare(model: Any, tokens: Tensor, runner: MaskRunner, chosen: Tensor, rounds: int) -> list[float]:
    """Median CPU seconds of a plain pass, of one over a copy of the prompts a circuit, and of the circuits."""
    works: list[Callable[[], Any]] = [
        lambda: model(tokens),
        lambda: model(tokens.repeat(len(chosen), 1)),
        lambda: runner.metric(chosen),
    ]
    for work in works:
        work()  # warm-up
    spent = [[timed(work) for work in works] for _ in range(rounds)]
    return [statistics.median(round_[i] for round_ in spent) for i in range(len(works))]


def timed(work: Callable[[], Any]) -> float:
    """CPU seconds of one call."""
    before = time.process_time()
    work()
    return time.process_time() - before


if __name__ == "__main__":
    main()
