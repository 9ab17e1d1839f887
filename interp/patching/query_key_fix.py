"""The QK-fix of AtP* (Kramár et al. 2024, section 3.1): new queries or keys go through the softmax exactly.

Saturated attention has no gradient, so a linear estimate gives queries and keys nothing, however much it would change
if they did. Here the pattern that the other run's queries or keys would make is computed, by the model's own attention
(rotary embeddings, soft caps, windows and shared keys included), and only what follows it is linearised:

    effect of a query or key  ≈  Σ_queries,keys (pattern with it replaced - pattern) · ∂m/∂pattern
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.hooks.capturing import capture
from interp.hooks.partial import StopForward, hooked, run
from interp.hooks.prompts import PromptTokens
from interp.hooks.sites import Site, hook_point, n_heads_at, pattern, resid_pre
from interp.patching.nodes import NodeSet


class PatternChange:
    """Contracts gradients at the patterns with the changes that replaced queries or keys make there.

    changes: one a layer, [cell, batch, head, query, key]; a cell is all positions at once, or one of them.
    """

    def __init__(self, nodes: NodeSet, changes: list[Tensor], n_heads: int, n_pos: int) -> None:
        self.nodes = nodes
        self.sites = [pattern(layer) for layer in nodes.layers]
        self._changes = changes
        self._n_heads = n_heads
        self._n_pos = n_pos

    def __call__(self, i: int, gradient: Float[Tensor, "batch head query key"]) -> Float[Tensor, "batch place unit"]:
        """The estimate of every node of the i-th site, times the direction's sign."""
        product = self._changes[i] * gradient
        if self.nodes.kind == "q" and self.nodes.place == "position":
            # Each query has its own softmax: the rows of the joint change are those of the single ones.
            by_head = product[0].sum(-1).transpose(1, 2)[:, : self._n_pos]
        else:
            by_head = product.sum((-1, -2)).transpose(0, 1)
        grouped = by_head.unflatten(-1, (self._n_heads, -1)).sum(-1)
        return grouped if "head" in self.nodes.by else grouped.sum(-1, keepdim=True)


_Roles = tuple[dict[str, Int[Tensor, " batch"]], dict[str, Int[Tensor, " batch"]]]
"""Where roles are in the run that is changed, and in the other one."""
_Cell = tuple[Int[Tensor, " batch"], Int[Tensor, " batch"]] | None


@torch.no_grad()
def pattern_changes(
    model: Any, nodes: NodeSet, tokens: PromptTokens, other: PromptTokens, n_pos: int, sign: float
) -> PatternChange:
    """Run the attention of every layer with the other run's queries or keys, and nothing else, in place."""
    streams = capture(model, tokens.as_subclass(Tensor), [resid_pre(layer) for layer in nodes.layers])
    donor = capture(model, other.as_subclass(Tensor), nodes.sites)
    cells = _cells(nodes, (tokens.positions, other.positions), len(tokens), n_pos)
    changes = []
    for layer in nodes.layers:
        site, stream = Site(nodes.kind, layer), streams[resid_pre(layer)]
        before = _pattern(model, site, stream, None)
        after = [_pattern(model, site, stream, _put(donor[site], cell)) for cell in cells]
        changes.append(sign * (torch.stack(after) - before))
    return PatternChange(nodes, changes, n_heads_at(model, Site(nodes.kind, nodes.layers[0])), n_pos)


def _cells(nodes: NodeSet, roles: _Roles, batch: int, n_pos: int) -> list[_Cell]:
    """What is replaced at once: everything (None), or one position (where it goes, where it comes from)."""
    if nodes.place == "role":
        return [(roles[0][role], roles[1][role]) for role in roles[0]]
    if nodes.place == "position" and nodes.kind == "k":
        everywhere = [torch.full((batch,), position) for position in range(n_pos)]
        return [(position, position) for position in everywhere]
    return [None]


def _put(given: Float[Tensor, "batch pos head d_head"], cell: _Cell) -> Any:
    def write(value: Tensor) -> Tensor:
        if cell is None:
            return given.to(value)
        rows = torch.arange(len(value), device=value.device)
        value = value.clone()
        value[rows, cell[0].to(value.device)] = given[rows, cell[1].to(value.device)].to(value)
        return value

    return write


def _pattern(model: Any, site: Site, stream: Tensor, write: Any) -> Float[Tensor, "batch head query key"]:
    """The attention pattern of a layer that reads `stream`, with queries or keys written over."""
    layer = site.layer or 0

    def keep(value: Tensor) -> None:
        raise StopForward(value.clone())

    with contextlib.ExitStack() as stack:
        if write is not None:
            stack.enter_context(hooked(hook_point(model, site), write))
        stack.enter_context(hooked(hook_point(model, pattern(layer)), keep))
        return run(model, stream, start=layer, stop=layer + 1)
