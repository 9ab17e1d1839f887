"""`sweep`: activation patching over layers, heads, positions or roles (Wang et al. 2022; Zhang & Nanda 2024)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import InputError
from interp.models import identity
from interp.patching.cells import Cell, all_cells, axes_of, check_request, head_axis_note
from interp.patching.folded_runs import Base, prepare, score_layer
from interp.patching.outcome import PatchingResult, outcome
from interp.patching.packing import DEFAULT_BUDGET, tokens_per_pass
from interp.results import Axis
from interp.runs import progress, provenance
from interp.tasks import PromptPairs


@torch.no_grad()
def sweep(
    model: Any,
    task: PromptPairs,
    over: str = "z",
    by: Sequence[str] | str = ("layer", "head"),
    direction: str = "denoise",
    *,
    layers: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    batch_size: int | None = None,
    memory_budget: int = DEFAULT_BUDGET,
) -> PatchingResult:
    """Patch one activation at a time from one run into the other, and measure what it does to the task's metric.

    over: resid_pre, resid_mid, attn_out, mlp_out, z, q, k, v or pattern (all before the rotary embedding). by: any of
    layer, head, position (prompts of equal length) or role (named positions); what is not named is patched all
    together. direction: "denoise" moves clean activations into the corrupt run, effect = m(patched) - m(corrupt);
    "noise" moves corrupt activations into the clean run, effect = m(clean) - m(patched). Positive always means that
    the component carries what makes the clean run clean. layers, heads: only these. batch_size: prompts at a time
    (default: as memory_budget, in bytes, allows). Raises InputError before anything runs for a request that the model
    or the prompts do not allow.

    Exact: no approximation is made, only work that cannot change the answer is left out (see `folded_runs`).
    """
    axes = check_request(model, task, over, by, layers, heads)
    if direction not in ("denoise", "noise"):
        raise InputError(
            f"direction is 'denoise' (clean into corrupt) or 'noise' (corrupt into clean), not {direction!r}"
        )
    if "head" not in axes and heads is not None:
        raise InputError("heads narrows a sweep by head; add 'head' to by, or leave heads out")
    started = datetime.now(UTC)
    chosen = list(layers) if layers is not None else list(range(int(model.cfg.n_layers)))
    result_axes = axes_of(model, task, over, axes, chosen, heads)
    per_pass = tokens_per_pass(model, task.clean.shape[1], memory_budget)
    step = batch_size or max(1, min(len(task), per_pass // (2 * task.clean.shape[1])))
    parts = [task[i : i + step] for i in range(0, len(task), step)]
    n_cells = len(all_cells(parts[0], result_axes, chosen, direction))
    effects, clean, corrupt = [], [], []
    with progress(n_cells * len(parts), f"patching {over} by {', '.join(axes)}") as bar:
        for part in parts:
            base = prepare(model, part, over, chosen, direction)
            runs = torch.zeros(*map(len, result_axes), len(part))
            for cells, scores in _scored(model, part, base, result_axes, chosen, direction, per_pass):
                for cell, score in zip(cells, scores.cpu()):
                    runs[cell.index] = score
                bar.advance(len(cells))
            unpatched, other = base.unpatched.cpu(), base.donor_scores.cpu()
            effects.append(runs - unpatched if direction == "denoise" else unpatched - runs)
            clean.append(other if direction == "denoise" else unpatched)
            corrupt.append(unpatched if direction == "denoise" else other)
    settings = {
        "over": over,
        "by": list(axes),
        "direction": direction,
        "metric": task.metric.name,
        "layers": chosen,
        "heads": None if heads is None else list(heads),
        "note": head_axis_note(model, over) if "head" in axes else "",
    }
    source = provenance(model=identity(model), task=task.describe(), seed=task.seed, started=started)
    baselines = {"clean": torch.cat(clean), "corrupt": torch.cat(corrupt)}
    return outcome(task, result_axes, torch.cat(effects, dim=-1), baselines, settings, source)


def _scored(
    model: Any,
    task: PromptPairs,
    base: Base,
    axes: Sequence[Axis],
    layers: Sequence[int],
    direction: str,
    max_tokens: int,
) -> Iterator[tuple[list[Cell], Float[Tensor, "cell batch"]]]:
    """The cells that share their layers, with m(patched) of each; a run starts at the first layer it changes."""
    cells = sorted(all_cells(task, axes, layers, direction), key=lambda cell: cell.layers)
    for _, group in groupby(cells, key=lambda cell: cell.layers):
        together = list(group)
        yield together, score_layer(model, together, base, max_tokens)
