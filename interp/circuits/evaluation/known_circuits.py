"""Agreement with a circuit that is known: overlap of circuits, and how well scores rank what is in it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from sklearn.metrics import roc_auc_score
from torch import Tensor

from interp.circuits.circuit import Circuit
from interp.circuits.edge_scores import EdgeScores
from interp.errors import InputError, unknown


def overlap(circuit: Circuit, known: Circuit | Sequence[str]) -> dict[str, float]:
    """precision, recall and Jaccard index at node level, and at edge level when edges are known.

    known: a circuit, or names of nodes ("a9.6"), since published circuits are lists of heads; then only nodes of the
    kinds it names (heads, MLPs) are compared. Raises InputError for nodes that the graph does not have.
    """
    if isinstance(known, Circuit):
        circuit.graph.check_same(known.graph)
        by_edge = _rates(circuit.mask, known.mask)
        found = {f"edge_{name}": value for name, value in by_edge.items()}
        names: Sequence[str] = [name for name in known.nodes() if name[0] in "am"]
    else:
        found, names = {}, known
    true = torch.zeros(len(circuit.graph.writers), dtype=torch.bool)
    for name in names:
        if name not in circuit.graph.writer_index:
            raise unknown("node", name, circuit.graph.writers)
        true[circuit.graph.writer_index[name]] = True
    kinds = {name[0] for name in names}
    mine = torch.tensor([name in set(circuit.nodes()) and name[0] in kinds for name in circuit.graph.writers])
    return found | {f"node_{name}": value for name, value in _rates(mine, true).items()}


def auroc(scores: Float[Tensor, " item"], true: Bool[Tensor, " item"]) -> float:
    """Probability that a true item scores above another, ties counting half; 0.5 is chance.

    Raises InputError when all items are true or none is.
    """
    if bool(true.all()) or not bool(true.any()):
        raise InputError("AUROC needs items inside and outside the known circuit")
    return float(roc_auc_score(true.numpy(), scores.double().numpy()))


def edge_auroc(scores: EdgeScores, known: Circuit) -> float:
    """AUROC of |score| for the edges of a known circuit, over all edges that have a score."""
    scores.graph.check_same(known.graph)
    scored = ~scores.score.isnan()
    return auroc(scores.score.abs()[scored], known.mask[scored])


def node_auroc(scores: EdgeScores, known: Sequence[str]) -> float:
    """AUROC of nodes of the kinds that `known` names; a node's score is the largest |score| of an edge it writes."""
    kinds = {name[0] for name in known}
    largest = scores.score.abs().nan_to_num().amax(1)
    rows = [row for row, name in enumerate(scores.graph.writers) if name[0] in kinds and name != "embed"]
    true = torch.tensor([scores.graph.writers[row] in set(known) for row in rows])
    return auroc(largest[rows], true)


def rank_correlation(scores: EdgeScores, exact: EdgeScores) -> float:
    """Spearman correlation of |score| over the edges that both have scored."""
    scores.graph.check_same(exact.graph)
    both = ~(scores.score.isnan() | exact.score.isnan())
    if int(both.sum()) < 3:
        raise InputError("fewer than three edges have both scores; a rank correlation needs more")
    ranks = torch.stack([_ranks(held.score[both].abs()) for held in (scores, exact)])
    return float(torch.corrcoef(ranks)[0, 1])


def _ranks(values: Float[Tensor, " item"]) -> Float[Tensor, " item"]:
    """Ranks from 1, equal values sharing the mean of theirs."""
    _, group, counts = values.double().unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    return (last - (counts - 1) / 2)[group]


def _rates(mine: Bool[Tensor, "*items"], true: Bool[Tensor, "*items"]) -> dict[str, float]:
    both, either = int((mine & true).sum()), int((mine | true).sum())
    return {
        "precision": both / int(mine.sum()) if bool(mine.any()) else float("nan"),
        "recall": both / int(true.sum()) if bool(true.any()) else float("nan"),
        "jaccard": both / either if either else float("nan"),
    }
