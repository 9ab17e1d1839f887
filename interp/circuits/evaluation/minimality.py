"""Minimality: every edge of the circuit matters more than edges that were added at random (Shi et al. 2024, 3.3).

The knock-out of one edge moves m(C) by d(e) = mean over prompts of |m(C) - m(C without e)|. It is held against circuits
with a random path added, and what the knock-out of one of the added edges does there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interp.circuits.circuit import Circuit, Edge
from interp.circuits.evaluation.hypotheses import Outcome, less_often_than
from interp.circuits.evaluation.judging import TIE, Judge
from interp.circuits.evaluation.sampling import inflated


@dataclass(frozen=True, eq=False)
class Minimality:
    """edges: those tested; effects: of their knock-outs; added: of edges added at random; p_values: one an edge."""

    edges: tuple[Edge, ...]
    effects: Float[Tensor, " edge"]
    added: Float[Tensor, " added"]
    p_values: Float[Tensor, " edge"]
    outcome: Outcome


def minimality_test(
    judge: Judge,
    circuit: Circuit,
    n_added: int = 40,
    most_edges: int = 50,
    share: float = 0.9,
    alpha: float = 0.05,
    seed: int = 0,
) -> Minimality:
    """H0, for each edge: its knock-out moves the circuit more than `share` of added edges' do.

    n_added: circuits with a random path; most_edges: of a larger circuit, so many edges are drawn. The circuit passes
    when no edge is rejected at alpha over the number of edges (Bonferroni). With the defaults an edge is rejected that
    outdoes at most 70 % of the added ones.
    """
    edges = _some(circuit, most_edges, seed)
    tested = [_without(circuit, edge) for edge in edges]
    inflations = inflated(circuit, n_added, seed)
    larger = [made for made, _ in inflations]
    smaller = [_without_index(made, *edge) for made, edge in inflations]
    measured = judge.measure([circuit, *tested, *larger, *smaller], "knocking out edges").metric
    own, without, with_path, without_one = measured.split([1, len(tested), n_added, n_added])
    effects = (without - own).abs().mean(1)
    added = (with_path - without_one).abs().mean(1)
    # Equal effects are no win, but an edge that does nothing must not win by rounding.
    tie = TIE * abs(judge.difference)
    wins = (effects[:, None] > added + tie).sum(1)
    p_values = torch.tensor([less_often_than(int(count), n_added, share) for count in wins], dtype=torch.float64)
    rejected = p_values <= alpha / len(edges)
    outcome = Outcome(
        test="minimality",
        statistic=float(rejected.double().mean()),
        p_value=min(1.0, float(p_values.min()) * len(edges)),
        n=len(edges),
        supports=not bool(rejected.any()),
        null=f"each edge's knock-out moves the circuit more than {100 * share:.0f} % of randomly added edges' do",
        meaning="share of the edges for which that is rejected",
        note="" if len(edges) == circuit.n_edges else f"{len(edges)} of {circuit.n_edges} edges, drawn at random",
    )
    return Minimality(edges, effects, added, p_values, outcome)


def _some(circuit: Circuit, most: int, seed: int) -> tuple[Edge, ...]:
    edges = circuit.edges()
    if len(edges) <= most:
        return tuple(edges)
    chosen = torch.randperm(len(edges), generator=torch.Generator().manual_seed(seed))[:most].sort().values
    return tuple(edges[i] for i in chosen.tolist())


def _without(circuit: Circuit, edge: Edge) -> Circuit:
    return _without_index(circuit, *circuit.graph.edge_index(edge))


def _without_index(circuit: Circuit, row: int, column: int) -> Circuit:
    mask = circuit.mask.clone()
    mask[row, column] = False
    return Circuit(circuit.graph, mask)


def node_knockouts(judge: Judge, circuit: Circuit, nodes: Sequence[str]) -> Float[Tensor, " node"]:
    """What the circuit's faithfulness loses without each of some nodes (Wang et al. 2022, section 4: minimality, with
    an empty set of other nodes knocked out)."""
    without = [knocked_out(circuit, [node]) for node in nodes]
    metric = judge.measure([circuit, *without], "knocking out nodes").metric
    faithfulness = judge.faithfulness(metric)
    return faithfulness[0] - faithfulness[1:]


def knocked_out(circuit: Circuit, nodes: Sequence[str]) -> Circuit:
    """The circuit without what some nodes write."""
    mask = circuit.mask.clone()
    mask[[circuit.graph.writer_index[node] for node in nodes]] = False
    return Circuit(circuit.graph, mask)
