"""How much memory scoring takes, said before it runs, and how many prompts and tokens at a time fit a budget.

Two phases follow each other: a pass with the graph of its backward pass, then products over a tile of tokens; what was
recorded, and the scores, are there all the time. The constants are measured (tests hold the sum against what PyTorch's
profiler counts). The model's own weights are not counted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from interp.circuits.edges import readers_at_once
from interp.circuits.graph import Graph
from interp.circuits.kept_tokens import most_tokens
from interp.circuits.task_checks import check_batch_size
from interp.errors import InputError
from interp.hooks.partial import can_read_narrowly
from interp.patching.packing import DEFAULT_BUDGET
from interp.tasks import PromptPairs

BYTES = 4
MOST_PASS_TOKENS = 4096
"""Tokens of one pass: more make no matrix product faster."""
MOST_TILE_TOKENS = 256
"""Tokens of one tile, for the same reason."""


@dataclass(frozen=True)
class MemoryPlan:
    """prompts: at a time; runs: steps of an integral in one pass; tile_tokens: at a time in the products; bytes: the
    most that is alive at once beside the weights."""

    prompts: int
    runs: int
    tile_tokens: int
    bytes: int

    def __str__(self) -> str:
        return f"{self.prompts} prompts a pass, {in_words(self.bytes)}"


@dataclass(frozen=True)
class _Sizes:
    """Bytes of the parts."""

    fixed: int
    a_prompt: int
    a_run: int
    a_recorded_run: int
    a_tile_token: int
    folding: int

    def with_patterns(self, model: Any, graph: Graph, width: int) -> _Sizes:
        """With patterns, their gradients and the streams kept, and a pass for one writer."""
        a_token = 2 * graph.n_heads * width + int(model.cfg.d_model)
        return replace(
            self,
            a_prompt=self.a_prompt + BYTES * graph.n_layers * width * a_token,
            a_run=max(self.a_run, bytes_of_a_writer(model, 1, width)),
        )

    def total(self, prompts: int, runs: int, all_runs: int, tile: int) -> int:
        pass_bytes = prompts * runs * self.a_run
        tile_bytes = tile * self.a_tile_token + self.folding
        kept = prompts * (self.a_prompt + all_runs * self.a_recorded_run)
        return self.fixed + kept + max(pass_bytes, tile_bytes)


def memory_plan(
    model: Any,
    task: PromptPairs,
    graph: Graph,
    *,
    steps: int = 1,
    patterns: bool = False,
    batch_size: int | None = None,
    memory_budget: int = DEFAULT_BUDGET,
) -> MemoryPlan:
    """As many prompts, runs and tile tokens at a time as a budget (bytes) allows, and what they take.

    steps: runs of an integral a prompt. patterns: whether attention patterns and their gradients are kept and made anew
    for changed queries and keys (QK-fix). Raises InputError, with the bytes needed, when the least does not fit.
    """
    check_batch_size(batch_size)
    sizes = _sizes(model, task, graph)
    sizes = sizes.with_patterns(model, graph, _width(task)) if patterns else sizes
    kept = most_tokens(task, graph)
    width = _width(task)
    least = sizes.total(batch_size or 1, 1, steps, 1)
    if least > memory_budget:
        fix = "a smaller batch_size" if batch_size and batch_size > 1 else "shorter prompts"
        raise InputError(
            f"scoring these edges takes at least {in_words(least)} and the budget is {in_words(memory_budget)}; give a "
            f"larger memory_budget (in bytes; --memory-budget is in MB) or {fix}"
        )
    most = max(1, min(len(task), MOST_PASS_TOKENS // width))
    prompts = min(batch_size or most, len(task))
    if batch_size is None:
        while prompts > 1 and sizes.total(prompts, 1, steps, 1) > memory_budget:
            prompts -= 1
    runs = max(1, min(steps, MOST_PASS_TOKENS // (prompts * width)))
    while runs > 1 and sizes.total(prompts, runs, steps, 1) > memory_budget:
        runs -= 1
    tile = min(prompts * kept, MOST_TILE_TOKENS)
    while tile > 1 and sizes.total(prompts, runs, steps, tile) > memory_budget:
        tile = max(1, tile * 3 // 4)
    return MemoryPlan(prompts, runs, tile, sizes.total(prompts, runs, steps, tile))


def in_words(n_bytes: int) -> str:
    """A number of bytes: exact below a megabyte, which such a number may be by mistake, else in MB of 2**20 bytes."""
    return f"{n_bytes} bytes" if n_bytes < 2**20 else f"{n_bytes / 2**20:.4g} MB"


def bytes_of_a_writer(model: Any, n_rows: int, width: int) -> int:
    """What one layer's attention takes with one writer changed, for a batch of prompts."""
    cfg = model.cfg
    return BYTES * n_rows * width * (10 * int(cfg.d_model) + 5 * int(cfg.n_heads) * width)


def _width(task: PromptPairs) -> int:
    """Positions that a pass covers."""
    return int(max(metric.readout.positions.max() for metric in (task.metric, task.corrupt_metric))) + 1


def _sizes(model: Any, task: PromptPairs, graph: Graph) -> _Sizes:
    cfg = model.cfg
    d, d_head, d_mlp = int(cfg.d_model), int(cfg.d_head), int(cfg.d_mlp or 0) if graph.has_mlp else 0
    layers, heads = graph.n_layers, graph.n_heads
    readers, width, kept = heads + 2 * graph.n_key_value_heads, _width(task), most_tokens(task, graph)
    at_once = len(readers_at_once(graph)[0])
    scores = len(graph.writers) * len(graph.readers)
    # Of one token, what autograd keeps of a layer, and what one layer computes at a time.
    graph_numbers = layers * (12 * d + 5 * d_mlp + 3 * heads * width) + 8 * d + 4 * d_mlp
    if not can_read_narrowly(model):
        graph_numbers += 3 * int(cfg.d_vocab)
    written = d + layers * (heads * d_head + (d if d_mlp else 0))
    reading = layers * (readers * d_head + (d if d_mlp else 0)) + d
    # Both runs, their difference, and a few of the largest on the way.
    a_prompt = kept * (3 * written + reading + 4 * (d + d_mlp)) + 3 * scores
    return _Sizes(
        fixed=BYTES * 8 * scores,
        a_prompt=BYTES * a_prompt,
        a_run=BYTES * width * graph_numbers,
        a_recorded_run=BYTES * kept * layers * (2 * d + readers),
        a_tile_token=BYTES * d * (1 + layers * (heads + 1) + at_once * (readers + 1) + 2 * readers),
        folding=BYTES * 3 * d * d_head * (heads + readers),
    )
