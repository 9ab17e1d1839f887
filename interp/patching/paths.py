"""`path_effects`: path patching (Wang et al. 2022, section 3.1 and appendix B; Goldowsky-Dill et al. 2023).

Which heads move the logits directly, and which move what a later head asks, offers or copies?
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.errors import InputError
from interp.hooks.head_names import Head, HeadLike, head_name
from interp.hooks.partial import run
from interp.hooks.selecting import Positions, position_index
from interp.models import identity
from interp.patching.outcome import PatchingResult, outcome
from interp.patching.packing import DEFAULT_BUDGET, tokens_per_pass
from interp.patching.path_runs import PathBase, logits_after, logits_received, prepare, sent
from interp.patching.receivers import LOGITS, Receiver, ReceiverLike, as_receivers, as_senders
from interp.results import Axis
from interp.runs import progress, provenance
from interp.tasks import PromptPairs

MLPS = ("recompute", "freeze")


class PathResult(PatchingResult):
    """Effects of the paths from senders to the receivers, positive where a path carries what makes the clean run clean.

    values as of a `PatchingResult` ("effect" with "low" and "high", "effect_per_example", "clean", "corrupt",
    "normalised"), by layer and head of the sender, or by sender where senders were named.
    """

    kind: ClassVar[str] = "paths"


@torch.no_grad()
def path_effects(
    model: Any,
    task: PromptPairs,
    receivers: Iterable[ReceiverLike] | ReceiverLike = LOGITS,
    *,
    senders: Iterable[HeadLike] | HeadLike | None = None,
    direction: str = "noise",
    mlps: str = "recompute",
    positions: Positions = None,
    batch_size: int | None = None,
    memory_budget: int = DEFAULT_BUDGET,
) -> PathResult:
    """The effect of the paths from each sending head to the receivers, one sender at a time.

    Run A is the run that is changed (clean for "noise", corrupt for "denoise"), run B the other one.

    1. Run A with the sender's output z taken from run B and all other heads' z held at run A's. mlps="recompute":
       MLPs and norms answer, so paths through MLPs count (Wang et al.). mlps="freeze": MLPs are held too, so what the
       receiver reads changes by the sender's own contribution alone (direct paths; the receiver's norm is computed
       anew). Record what the receivers read.
    2. Run A with the receivers' queries, keys or values set to what was recorded, everything else free; measure the
       metric. The logits as receiver read the stream of step 1 itself.

    receivers: "logits", or inputs of heads: "9.9.q", ("q", 9, 9), or a list; those of a list receive together. A head
    receives k and v as its own copy: under grouped-query attention the heads that share them read the old ones
    ("a9.kv2.k" names the keys of all heads of a group). senders: heads (default: all before the last receiver).
    positions: where receivers read something new ("end", a list of roles, numbers; default: everywhere). In step 1
    nothing moves between positions, so this is also where the sender's value is replaced. batch_size: prompts at a
    time (default: as memory_budget, in bytes, allows).

    Effects are m(clean) - m(patched) for "noise" and m(patched) - m(corrupt) for "denoise". Exact: no approximation is
    made. Raises InputError, before anything runs, for receivers or senders the model does not have and for pairs whose
    prompts differ in length.
    """
    _check(task, direction, mlps, batch_size)
    received = as_receivers(model, receivers)
    sending = as_senders(model, senders, received)
    started = datetime.now(UTC)
    parts = _parts(model, task, batch_size, memory_budget)
    _chosen(task, direction, received, positions)  # refuses unknown positions before anything runs
    effects, clean, corrupt = [], [], []
    with progress(len(sending) * len(parts), f"paths into {_names(received)}") as bar:
        for part in parts:
            base = _base(model, part, direction, received, positions)
            unpatched = base.metric.score(base.logits)
            scores = unpatched[None].repeat(len(sending), 1)
            for cells, layer, heads in _chunks(
                sending, base, tokens_per_pass(model, part.clean.shape[1], memory_budget)
            ):
                scores[cells] = _patched(model, layer, heads, received, base, mlps).to(scores)
                bar.advance(len(cells))
            other = _other_baseline(model, part, direction)
            effects.append((unpatched - scores if direction == "noise" else scores - unpatched).cpu())
            clean.append((unpatched if direction == "noise" else other).cpu())
            corrupt.append((other if direction == "noise" else unpatched).cpu())
    settings = {
        "over": "paths",
        "receivers": [str(receiver) for receiver in received] or [LOGITS],
        "senders": None if senders is None else [head_name(head) for head in sending],
        "direction": direction,
        "mlps": mlps,
        "positions": positions.tolist() if isinstance(positions, Tensor) else positions,
        "metric": task.metric.name,
    }
    source = provenance(model=identity(model), task=task.describe(), seed=task.seed, started=started)
    baselines = {"clean": torch.cat(clean), "corrupt": torch.cat(corrupt)}
    axes, shape = _axes(model, sending, named=senders is not None)
    return _result(task, axes, torch.cat(effects, dim=-1).view(*shape, len(task)), baselines, settings, source)


def _check(task: PromptPairs, direction: str, mlps: str, batch_size: int | None) -> None:
    if direction not in ("denoise", "noise"):
        raise InputError(
            f"direction is 'noise' (corrupt into clean) or 'denoise' (clean into corrupt), not {direction!r}"
        )
    if mlps not in MLPS:
        raise InputError(f"mlps is 'recompute' (paths through MLPs count) or 'freeze' (direct paths), not {mlps!r}")
    if not task.aligned:
        raise InputError(
            "clean and corrupt prompts differ in length, so a head's output has no counterpart at every position; "
            "use pairs of equal length"
        )
    if batch_size is not None and batch_size < 1:
        raise InputError(f"batch_size is the number of prompts at a time, at least 1, not {batch_size}")


def _parts(model: Any, task: PromptPairs, batch_size: int | None, memory_budget: int) -> list[PromptPairs]:
    width = task.clean.shape[1]
    step = batch_size or max(1, min(len(task), tokens_per_pass(model, width, memory_budget) // (2 * width)))
    return [task[i : i + step] for i in range(0, len(task), step)]


def _base(
    model: Any, task: PromptPairs, direction: str, receivers: Sequence[Receiver], positions: Positions
) -> PathBase:
    chosen, taken = _chosen(task, direction, receivers, positions)
    if direction == "noise":
        return prepare(model, task.clean, task.corrupt, task.metric, chosen, taken)
    return prepare(model, task.corrupt, task.clean, task.corrupt_metric, chosen, taken)


def _chosen(
    task: PromptPairs, direction: str, receivers: Sequence[Receiver], positions: Positions
) -> tuple[Int[Tensor, "batch chosen"], Bool[Tensor, "batch chosen"]]:
    """At which positions receivers read, and where what they read may differ from run A."""
    tokens, metric = (task.clean, task.metric) if direction == "noise" else (task.corrupt, task.corrupt_metric)
    batch, n_pos = tokens.shape
    read = metric.readout.positions.cpu()
    asked = None if positions is None else position_index(positions, batch, n_pos, tokens)
    if receivers:
        # Before the prompts differ nothing differs, and what comes after the metric's last position it cannot see.
        end = int(read.max()) + 1
        changed = torch.arange(min(int(task.divergence.min()), end - 1), end).expand(batch, -1)
        chosen = changed if asked is None else asked
        return chosen, torch.ones_like(chosen, dtype=torch.bool)
    if asked is None:
        return read, torch.ones_like(read, dtype=torch.bool)
    return read, (read[:, :, None] == asked[:, None, :]).any(-1)


def _chunks(senders: Sequence[Head], base: PathBase, max_tokens: int) -> list[tuple[list[int], int, list[int]]]:
    """Senders that share a pass: (their places, their layer, their heads)."""
    tokens = len(base.chosen) * max(base.chosen.shape[1], base.end - base.first)
    size = max(1, max_tokens // tokens)
    chunks = []
    order = sorted(range(len(senders)), key=lambda i: senders[i])
    for layer, group in groupby(order, key=lambda i: senders[i][0]):
        here = list(group)
        for part in (here[i : i + size] for i in range(0, len(here), size)):
            chunks.append((part, layer, [senders[i][1] for i in part]))
    return chunks


def _patched(
    model: Any, layer: int, heads: Sequence[int], receivers: Sequence[Receiver], base: PathBase, mlps: str
) -> Float[Tensor, "sender batch"]:
    """m(patched) of some senders of one layer."""
    stops = sorted({receiver.layer for receiver in receivers if receiver.layer > layer}) or [int(model.cfg.n_layers)]
    streams = sent(model, layer, heads, base, stops, mlps)
    if receivers:
        logits = logits_received(model, receivers, streams, base)
    else:
        logits = logits_after(model, streams[stops[0]], base)
    return base.metric.score(logits.view(len(heads), len(base.chosen), -1))


def _other_baseline(model: Any, task: PromptPairs, direction: str) -> Float[Tensor, " batch"]:
    metric, tokens = (task.corrupt_metric, task.corrupt) if direction == "noise" else (task.metric, task.clean)
    return metric.score(run(model, tokens.as_subclass(Tensor), readout=metric.readout))


def _axes(model: Any, senders: Sequence[Head], named: bool) -> tuple[tuple[Axis, ...], tuple[int, ...]]:
    if named:
        return (Axis("sender", tuple(head_name(head) for head in senders)),), (len(senders),)
    n_heads = int(model.cfg.n_heads)
    shape = (len(senders) // n_heads, n_heads)
    return (Axis("layer", tuple(range(shape[0]))), Axis("head", tuple(range(n_heads)))), shape


def _names(receivers: Sequence[Receiver]) -> str:
    return ", ".join(map(str, receivers)) or "the logits"


def _result(
    task: PromptPairs,
    axes: tuple[Axis, ...],
    effects: Float[Tensor, "*senders batch"],
    baselines: dict[str, Tensor],
    settings: dict[str, Any],
    source: Any,
) -> PathResult:
    made = outcome(task, axes, effects, baselines, settings, source)
    into = ", ".join(settings["receivers"])
    through = "and through MLPs" if settings["mlps"] == "recompute" else "with MLPs frozen"
    caption = (
        f"Effect on the {task.metric.name.replace('_', ' ')} ({task.metric.unit}) of the paths from each head into "
        f"{into}, directly "
        f"{through} ({settings['direction']}); the whole difference is {made.difference:.2f}."
    )
    plots = tuple(replace(plot, title=f"Paths into {into}", caption=caption) for plot in made.plots)
    return PathResult(values=made.values, settings=made.settings, provenance=made.provenance, plots=plots)
