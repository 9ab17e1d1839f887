"""HISP, head importance scores for pruning: the size of the gradient along what a head writes.

Michel, Levy and Neubig 2019, "Are Sixteen Heads Really Better than One?", section 4.1: I_h = E |A_h · ∂L/∂A_h|, over
the L2 norm of the importances of its layer. Carried over to corrupt prompts by Conmy et al. 2023 (ACDC), section 4, as
the baseline HISP: the difference of the two runs, A_h(clean) - A_h(corrupt), takes the place of A_h. MLPs are nodes of
their layer like heads.

Importances are of nodes. An edge gets the smaller one of its two nodes, the embedding and the logits being part of
every circuit: taking edges down to a score is taking nodes down to it. Keys and values that heads share count as the
most important of these heads.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interp.circuits.graph import Graph
from interp.circuits.scoring.batches import Scored, Settings
from interp.errors import InputError
from interp.patching.node_attributions import node_attribution
from interp.tasks import PromptPairs

BY_PROMPT = False
UNIT = "importance"
MEANING = "the smaller importance of the edge's two nodes, over the norm of their layer's"


def scores(model: Any, task: PromptPairs, graph: Graph, settings: Settings) -> Iterator[Scored]:
    """Two forward passes and one backward pass each for heads and MLPs."""
    if graph.positions is not None:
        raise InputError("head importances are taken over all positions together; use Graph.of(model)")
    each, clean, corrupt = attributions(
        model, task, graph, settings.at, batch_size=settings.batch_size, memory_budget=settings.memory_budget
    )
    nodes = importances(each, graph)
    own, other = (clean, corrupt) if settings.at == "clean" else (corrupt, clean)
    yield Scored(edges_of_nodes(nodes, graph)[None], own, other, settings.batch_size)


def attributions(
    model: Any, task: PromptPairs, graph: Graph, at: str, **arguments: Any
) -> tuple[Float[Tensor, "example writer"], Float[Tensor, " example"], Float[Tensor, " example"]]:
    """(clean - corrupt) · gradient at what each head and MLP writes, per prompt (0 for the embedding), and the metric
    of the clean and the corrupt run. arguments: of `interp.patching.node_attribution`."""
    direction = "noise" if at == "clean" else "denoise"
    heads = node_attribution(model, task, "heads", direction=direction, **arguments)
    found = torch.zeros(len(task), len(graph.writers))
    by_layer = found[:, 1:].unflatten(1, (graph.n_layers, -1))
    by_layer[:, :, : graph.n_heads] = heads.values["effect_per_example"].data.movedim(-1, 0)
    if graph.has_mlp:
        mlps = node_attribution(model, task, "mlps", direction=direction, **arguments)
        by_layer[:, :, -1] = mlps.values["effect_per_example"].data.movedim(-1, 0)
    return found, heads.values["clean"].data, heads.values["corrupt"].data


def importances(each: Float[Tensor, "example writer"], graph: Graph) -> Float[Tensor, " writer"]:
    """Mean sizes over the norm of their layer; NaN for the embedding."""
    sizes = each.abs().mean(0)
    by_layer = sizes[1:].view(graph.n_layers, -1)
    norms = by_layer.norm(dim=1, keepdim=True)
    shares = torch.where(norms > 0, by_layer / norms, 0.0)
    return torch.cat([sizes.new_full((1,), float("nan")), shares.flatten()])


def edges_of_nodes(nodes: Float[Tensor, " writer"], graph: Graph) -> Float[Tensor, "writers readers"]:
    """The smaller value of an edge's two nodes; embedding and logits count as the largest of all."""
    largest = nodes[1:].max()
    wrote = nodes.clone()
    wrote[0] = largest
    read = torch.where(graph.feeds, nodes.nan_to_num(), -torch.inf).max(1).values
    read[graph.reader_slice(graph.n_layers, "logits")] = largest
    return torch.minimum(wrote[:, None], read)
