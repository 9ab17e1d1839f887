"""Completeness: the circuit answers to knock-outs as the model does (Wang et al. 2022, section 4).

Without a set K of the circuit's nodes, circuit and model should be equally hurt: |F(C without K) - F(M without K)| is
the incompleteness of C under K. Large values show that the model has parts outside the circuit that step in for K.
K is drawn at random, each node with probability one half, and built up greedily, one node at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interp.circuits.circuit import Circuit
from interp.circuits.evaluation.judging import Judge
from interp.circuits.evaluation.minimality import knocked_out
from interp.errors import InputError


@dataclass(frozen=True, eq=False)
class Completeness:
    """labels, nodes: name and members of each set K; circuit, model: faithfulness of both without K."""

    labels: tuple[str, ...]
    nodes: tuple[tuple[str, ...], ...]
    circuit: Float[Tensor, " knocked_out"]
    model: Float[Tensor, " knocked_out"]

    @property
    def incompleteness(self) -> Float[Tensor, " knocked_out"]:
        """|F(C without K) - F(M without K)| of each set."""
        return (self.circuit - self.model).abs()


def knock_out_sets(
    judge: Judge,
    circuit: Circuit,
    n_random: int = 10,
    greedy_steps: int = 3,
    greedy_candidates: int = 10,
    seed: int = 0,
) -> Completeness:
    """Knock out random and greedily chosen sets of the circuit's heads and MLPs.

    n_random: random sets; greedy_steps: size of the greedy set; greedy_candidates: nodes tried at each step, drawn
    anew. Raises InputError for a circuit without heads and MLPs.
    """
    nodes = tuple(name for name in circuit.nodes() if name in circuit.graph.writer_index and name[0] in "am")
    if not nodes:
        raise InputError("the circuit has no heads or MLPs to knock out")
    generator = torch.Generator().manual_seed(seed)
    draws = torch.rand(n_random, len(nodes), generator=generator) < 0.5
    sets = [tuple(name for name, there in zip(nodes, row) if there) for row in draws]
    sets = [chosen or nodes[:1] for chosen in sets]
    labels = [f"random {i + 1}" for i in range(n_random)]
    chosen: tuple[str, ...] = ()
    for step in range(min(greedy_steps, len(nodes))):
        left = [name for name in nodes if name not in chosen]
        order = torch.randperm(len(left), generator=generator)[:greedy_candidates]
        tried = [(*chosen, left[i]) for i in order.tolist()]
        ours, whole = _faithfulness(judge, circuit, tried)
        chosen = tried[int((ours - whole).abs().argmax())]
        sets.append(chosen)
        labels.append(f"greedy {step + 1}")
    ours, whole = _faithfulness(judge, circuit, sets)
    return Completeness(tuple(labels), tuple(sets), ours, whole)


def _faithfulness(
    judge: Judge, circuit: Circuit, sets: list[tuple[str, ...]]
) -> tuple[Float[Tensor, " sets"], Float[Tensor, " sets"]]:
    whole = Circuit.full(circuit.graph)
    without = [knocked_out(part, nodes) for part in (circuit, whole) for nodes in sets]
    found = judge.faithfulness(judge.measure(without, "knocking out nodes").metric)
    return found[: len(sets)], found[len(sets) :]
