"""ACDC as a score: the largest threshold of a grid at which the search keeps the edge.

Conmy et al. 2023, "Towards Automated Circuit Discovery for Mechanistic Interpretability", section 4 compares methods
along a sweep of thresholds. Circuits of growing thresholds are not nested, and what is kept depends on the order of the
search, so this ranks edges only as far as the grid tells them apart: 0 for edges that even the smallest threshold lets
go. A search a threshold.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from interp.circuits.circuit import Circuit
from interp.circuits.graph import Graph
from interp.circuits.scoring.batches import Scored, Settings
from interp.circuits.searching.acdc import check_threshold, connected, edge_by_edge
from interp.circuits.searching.damage import Damage
from interp.circuits.searching.nested_masks import State, decide_all
from interp.errors import InputError
from interp.runs import progress
from interp.tasks import PromptPairs

NEEDS_GRADIENTS = False
BY_PROMPT = False
UNIT = "damage"
MEANING = "the largest threshold at which ACDC keeps the edge"
GRID = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
OPTIONS: dict[str, Any] = {"thresholds": None, "shares": GRID, "damage": "absolute"}
"""thresholds: the grid, in the unit of the damage (None: shares of the damage of removing every edge); damage: see
`interp.circuits.searching.damage`."""


def scores(model: Any, task: PromptPairs, graph: Graph, settings: Settings) -> Iterator[Scored]:
    """A search a threshold, the smallest first."""
    if settings.at != "clean":
        raise InputError("ACDC removes edges from the clean run; use at='clean'")
    options = OPTIONS | dict(settings.options)
    damage = Damage(
        model,
        task,
        graph,
        options["damage"],
        batch_size=settings.batch_size,
        memory_budget=settings.memory_budget,
    )
    nothing = torch.zeros_like(graph.exists)
    start, none = damage(torch.stack([graph.exists, nothing])).tolist()
    grid = options["thresholds"] or [share * none for share in options["shares"]]
    trials, found = edge_by_edge(Circuit.full(graph)), torch.zeros(graph.exists.shape)
    for threshold in progress(sorted(map(float, grid)), "ACDC, thresholds"):
        check_threshold(threshold)
        state = decide_all(trials, State(0, (), graph.exists.clone(), start), damage, threshold, lambda _: None)
        found[connected(Circuit(graph, state.mask), "counterfactual").mask] = threshold
    yield Scored(found[None], *_baselines(damage, nothing), damage.runner.batch_size)


def _baselines(damage: Damage, nothing: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """The metric of the clean and the corrupt run, where the damage is made of it."""
    if damage.kind == "kl":
        return None, None
    return damage.whole, damage.runner.metric(nothing[None])[0]
