"""The slow twin of ACDC: the algorithm as it is written down, one edge and one run at a time, without short cuts."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from interp.circuits.graph import Graph
from interp.circuits.masks import MaskRunner
from interp.tasks import PromptPairs


def acdc_one_edge_at_a_time(
    model: Any,
    task: PromptPairs,
    graph: Graph,
    threshold: float,
    order: str = "late",
    value: str = "counterfactual",
    start: Tensor | None = None,
) -> Tensor:
    """The mask that is left; damage is the mean distance of the metric from the whole model's. start: edges to try."""
    runner = MaskRunner(model, task, graph, value=value)
    whole = runner.untouched()

    def damage(mask: Tensor) -> float:
        return float((runner.metric(mask[None])[0] - whole).abs().double().mean())

    mask = (graph.exists if start is None else start).clone()
    now = damage(mask)
    for column in reversed(range(len(graph.readers))):
        rows = mask[:, column].nonzero()[:, 0].tolist()
        for row in reversed(rows) if order == "late" else rows:
            without = mask.clone()
            without[row, column] = False
            then = damage(without)
            if then - now < threshold:
                mask, now = without, then
    return mask
