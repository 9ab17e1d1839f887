"""`behaviour`: how well a model does a task, over all pairs and group by group, before anyone asks how it does it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from interp.hooks.partial import run
from interp.hooks.readout import Readout
from interp.models import identity
from interp.results import Axis, Plot, Result, Values, bootstrap_interval, mean_with_interval
from interp.runs import progress, provenance
from interp.tasks.metric import Metric
from interp.tasks.pairs import PromptPairs

MEASURES = ("logit_difference", "accuracy", "probability_difference", "answer_rank")
_ROWS = 32  # prompts a pass: their logits over the whole vocabulary are a few MB


class Behaviour(Result):
    """How a model does on the clean and the corrupt prompts of a task.

    values: "mean" over pairs, with "low" and "high" (95 % bootstrap), by measure and side (clean, corrupt);
    "per_example"; and for each measure its clean mean by group, "<measure>_by_group", with its interval.
    """

    kind: ClassVar[str] = "behaviour"


@torch.no_grad()
def behaviour(model: Any, task: PromptPairs, measures: Sequence[str] = MEASURES) -> Behaviour:
    """Score the clean and the corrupt prompts of a task by several measures (names in `interp.tasks.metrics`).

    The same answers are scored on both sides, so an answer that the corrupt prompt does not call for scores low there.
    Raises InputError for a measure that does not exist or needs more than the answers.
    """
    started = datetime.now(UTC)
    metrics = [task.with_metric(name).metric for name in measures]
    sides = {"clean": (task.clean, task.metric), "corrupt": (task.corrupt, task.corrupt_metric)}
    scores = torch.zeros(len(measures), len(sides), len(task))
    with progress(len(sides) * len(task), f"scoring {task.name}") as bar:
        for i, (tokens, at) in enumerate(sides.values()):
            for start in range(0, len(task), _ROWS):
                rows = slice(start, min(start + _ROWS, len(task)))
                scores[:, i, rows] = _score(model, tokens[rows], at.readout.positions[rows, :1], metrics, rows)
                bar.advance(rows.stop - rows.start)
    examples = Axis("example", tuple(range(len(task))))
    axes = (Axis("measure", tuple(measures)), Axis("side", tuple(sides)), examples)
    per_example = Values(scores, axes, "each measure's own", "score of every pair")
    values = mean_with_interval(per_example) | {"per_example": per_example}
    for name, metric, row in zip(measures, metrics, scores[:, 0]):
        values |= _by_group(task, name, metric, row)
    settings = {"measures": list(measures), "units": [metric.unit for metric in metrics]}
    source = provenance(model=identity(model), task=task.describe(), seed=task.seed, started=started)
    return Behaviour(values=values, settings=settings, provenance=source, plots=_plots(task, values, metrics[0]))


def _score(
    model: Any, tokens: Tensor, positions: Tensor, metrics: Sequence[Metric], rows: slice
) -> Float[Tensor, "measure batch"]:
    """Every measure of a few prompts from one forward pass; the logits at their last position are enough for all."""
    logits = run(model, tokens.as_subclass(Tensor), readout=Readout(positions, None))[:, None]
    scores = []
    for metric in metrics:
        part = metric.rows(rows)
        at_last = Readout(torch.zeros_like(positions), part.readout.columns)
        scores.append(part.score(at_last.gather(logits)).cpu())
    return torch.stack(scores)


def _by_group(task: PromptPairs, name: str, metric: Metric, scores: Float[Tensor, " batch"]) -> dict[str, Values]:
    """The mean of one measure in every group, on axes (template, order) where groups are named like "BABA-3"."""
    groups = sorted(set(task.groups), key=_group_order)
    rows = [torch.tensor([i for i, group in enumerate(task.groups) if group == label]) for label in groups]
    means = torch.stack([scores[index].mean() for index in rows])
    ends = [bootstrap_interval(scores[index], 0) for index in rows]
    axes, shape = _group_axes(groups)
    found = {}
    for suffix, data in (
        ("", means),
        ("_low", torch.stack([e[0] for e in ends])),
        ("_high", torch.stack([e[1] for e in ends])),
    ):
        found[f"{name}_by_group{suffix}"] = Values(data.reshape(shape), axes, metric.unit, "mean of the group")
    return found


def _group_order(group: str) -> tuple[str, int, str]:
    order, _, number = group.partition("-")
    return (order, int(number), "") if number.isdigit() else (group, -1, number)


def _group_axes(groups: Sequence[str]) -> tuple[tuple[Axis, ...], tuple[int, ...]]:
    parts = [group.partition("-") for group in groups]
    orders = sorted({order for order, _, _ in parts})
    numbers = sorted({int(number) for _, _, number in parts if number.isdigit()})
    if len(orders) * len(numbers) == len(groups) and all(number.isdigit() for _, _, number in parts):
        return (Axis("order", tuple(orders)), Axis("template", tuple(numbers))), (len(orders), len(numbers))
    return (Axis("group", tuple(groups)),), (len(groups),)


def _plots(task: PromptPairs, values: dict[str, Values], metric: Metric) -> tuple[Plot, ...]:
    name = f"{metric.name}_by_group"
    table = Plot("table", "mean", x="measure", title=f"Behaviour on {task.name}", low="low", high="high",
                 caption=f"Mean over {len(task)} pairs of each measure, on clean and corrupt prompts.")  # fmt: skip
    by_group = "order" in values[name].dims
    bars = Plot(
        "bars",
        name,
        x="template" if by_group else "group",
        series="order" if by_group else None,
        title=f"{metric.name.replace('_', ' ').capitalize()} by {'template and order' if by_group else 'group'}",
        caption=_group_caption(task),
        caveat="Groups are small, so single bars are uncertain.",
        low=f"{name}_low",
        high=f"{name}_high",
        options={"colour_label": metric.unit},
    )
    return (table, bars) if len(set(task.groups)) > 1 else (table,)


def _group_caption(task: PromptPairs) -> str:
    smallest = min(task.groups.count(group) for group in set(task.groups))
    if smallest < 2:
        return f"Mean on the clean prompts of each group; {len(task)} pairs in all, too few a group for intervals."
    return f"Mean on the clean prompts of each group ({smallest} pairs or more) with 95 % bootstrap intervals."
