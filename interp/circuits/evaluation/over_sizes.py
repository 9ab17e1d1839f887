"""Circuits of several sizes, each beside random circuits of its own size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interp.circuits.circuit import Circuit
from interp.circuits.edge_scores import EdgeScores
from interp.circuits.evaluation.faithfulness import areas, curve_sizes
from interp.circuits.evaluation.judging import TIE, Judge
from interp.circuits.evaluation.sampling import random_circuits
from interp.circuits.evaluation.sufficiency import random_p_value
from interp.errors import InputError


@dataclass(frozen=True, eq=False)
class Curve:
    """Faithfulness at each size (middle) with its 95 % bootstrap interval (low, high), and of random circuits their
    median and 5 and 95 % quantiles, NaN where there are none; p_values: against these."""

    sizes: tuple[int, ...]
    middle: Float[Tensor, " size"]
    low: Float[Tensor, " size"]
    high: Float[Tensor, " size"]
    random_middle: Float[Tensor, " size"]
    random_low: Float[Tensor, " size"]
    random_high: Float[Tensor, " size"]
    p_values: Float[Tensor, " size"]
    areas: dict[str, float]


def curve_circuits(
    circuits: Sequence[Circuit], scores: EdgeScores | None, sizes: Sequence[int] | None
) -> list[Circuit]:
    """The circuits of the curve, ascending: the top ones of some scores, or those given; one a size.

    Raises InputError for sizes without scores, or sizes that the scores do not have.
    """
    if scores is None:
        if sizes is not None:
            raise InputError("sizes needs scores, from which circuits of these sizes are taken; pass scores=")
        by_size = {circuit.n_edges: circuit for circuit in circuits if circuit.n_edges}
        return [by_size[size] for size in sorted(by_size)]
    circuits[0].graph.check_same(scores.graph)
    n_scored = int((~scores.score.isnan()).sum())
    return [scores.top(size) for size in curve_sizes(n_scored, sizes)]


def over_sizes(judge: Judge, circuits: Sequence[Circuit], n_random: Sequence[int], seed: int) -> Curve | None:
    """Measure the circuits and, beside each, its number of random ones; None for fewer than two sizes."""
    if len(circuits) < 2:
        return None
    metric = judge.measure(circuits, "running circuits of several sizes").metric
    far = judge.unfaithfulness(metric)
    beside = [_beside(judge, circuit, n, seed) for circuit, n in zip(circuits, n_random, strict=True)]
    nothing = torch.full((3,), float("nan"))
    bands = [
        nothing if drawn is None else judge.faithfulness(drawn).quantile(torch.tensor([0.05, 0.5, 0.95]))
        for drawn in beside
    ]
    p_values = [
        float("nan") if drawn is None else random_p_value(float(own), judge.unfaithfulness(drawn), TIE)
        for own, drawn in zip(far, beside)
    ]
    random_low, random_middle, random_high = torch.stack(bands).T
    low, high = judge.faithfulness_interval(metric, seed=seed)
    middle = judge.faithfulness(metric)
    sizes = tuple(circuit.n_edges for circuit in circuits)
    shares = torch.tensor(sizes) / judge.graph.n_edges
    return Curve(
        sizes, middle, low, high, random_middle, random_low, random_high, torch.tensor(p_values), areas(shares, middle)
    )


def _beside(judge: Judge, circuit: Circuit, n: int, seed: int) -> Tensor | None:
    """The metric of random circuits like this one, [random, example]; None where none can be drawn."""
    if n == 0 or circuit.n_edges == judge.graph.n_edges:
        return None
    try:
        drawn = random_circuits(circuit, n, seed)
    except InputError:
        return None  # no edge is connected, or the layers are too full to draw anything else
    return judge.measure(drawn, f"running random circuits of {circuit.n_edges} edges").metric
