"""Which nodes are attributed: where they are read, what a unit of them is, and how positions are counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import InputError, unknown
from interp.hooks.capturing import AnySite
from interp.hooks.head_names import as_layers
from interp.hooks.latents import LatentSite, plain_site
from interp.hooks.sites import Site, check, n_heads_at
from interp.results import Axis
from interp.tasks import PromptPairs

NODES = {
    "heads": "z",
    "mlps": "mlp_out",
    "neurons": "mlp_post",
    **{kind: kind for kind in ("z", "q", "k", "v", "attn_out", "mlp_out", "mlp_post")},
    **{kind: kind for kind in ("resid_pre", "resid_mid", "resid_post")},
}
"""What can be asked for, and the kind of site that it is."""
UNITS = {"z": "head", "q": "head", "k": "head", "v": "head", "mlp_post": "neuron"}
PLACES = ("position", "role")

Nodes = str | LatentSite | Sequence[LatentSite]


@dataclass(frozen=True, eq=False)
class NodeSet:
    """The nodes of one attribution.

    name: how they were asked for; sites: one a layer; unit: "head", "neuron" or "latent", None where a node is a
    whole site; by: the axes of the result; axes: those axes with their labels.
    """

    name: str
    sites: tuple[AnySite, ...]
    unit: str | None
    by: tuple[str, ...]
    axes: tuple[Axis, ...]

    @property
    def place(self) -> str | None:
        """Whether nodes are told apart by "position" or by "role"; None where all positions are one node."""
        return next((name for name in self.by if name in PLACES), None)

    @property
    def layers(self) -> tuple[int, ...]:
        """The layer of each site."""
        return tuple(plain_site(site).layer or 0 for site in self.sites)

    @property
    def kind(self) -> str:
        """The kind of site, or "latents"."""
        return self.sites[0].kind if isinstance(self.sites[0], Site) else "latents"


def as_nodes(
    model: Any, task: PromptPairs, nodes: Nodes, by: Sequence[str] | str | None, layers: Sequence[int] | None
) -> NodeSet:
    """The nodes meant by a name or by latent sites. Raises InputError for what this model or these prompts lack."""
    if isinstance(nodes, str):
        if nodes not in NODES:
            raise unknown("kind of node", nodes, NODES)
        chosen = as_layers(model, layers)
        sites: tuple[AnySite, ...] = tuple(Site(NODES[nodes], layer) for layer in chosen)
        unit, name = UNITS.get(NODES[nodes]), nodes
    else:
        sites = (nodes,) if isinstance(nodes, LatentSite) else tuple(nodes)
        if layers is not None or not sites or not all(isinstance(site, LatentSite) for site in sites):
            raise InputError("nodes is a kind of node, a LatentSite or a list of them (which say their layers)")
        unit, name = "latent", "latents"
    for site in sites:
        check(model, plain_site(site))
    axes = _by(by, unit, task)
    return NodeSet(name, sites, unit, axes, tuple(_axis(model, axis, sites, task) for axis in axes))


def by_place(
    value: Float[Tensor, "batch pos *rest"], nodes: NodeSet, at: dict[str, Int[Tensor, " batch"]], n_pos: int
) -> Float[Tensor, "batch place *rest"]:
    """An activation (or its gradient) at the positions that count: each of them, or those of the roles `at`."""
    if nodes.place == "role":
        index = torch.stack(list(at.values()), dim=1).to(value.device)
        return value[torch.arange(len(value), device=value.device)[:, None], index]
    return value[:, :n_pos] if nodes.place == "position" else value


def _by(by: Sequence[str] | str | None, unit: str | None, task: PromptPairs) -> tuple[str, ...]:
    natural = ("layer", unit) if unit else ("layer",)
    axes = natural if by is None else (by,) if isinstance(by, str) else tuple(by)
    known = (*natural, *PLACES)
    for name in axes:
        if name not in known:
            raise unknown("axis of these nodes", name, known)
    if "layer" not in axes or len(set(axes)) != len(axes):
        raise InputError(f"by names 'layer' and any of {', '.join(known[1:])}, each once")
    if set(PLACES) <= set(axes):
        raise InputError("attribute by 'position' or by 'role', not both: a role is a position in every prompt")
    if "position" in axes and not task.equal_lengths:
        raise InputError("the prompts differ in length, so a position means something else in each; use by 'role'")
    if "role" not in axes and not task.aligned:
        raise InputError("clean and corrupt prompts differ in length, so only named positions match; use by 'role'")
    return axes


def _axis(model: Any, name: str, sites: Sequence[AnySite], task: PromptPairs) -> Axis:
    first = sites[0]
    if name == "layer":
        labels: tuple[Any, ...] = tuple(plain_site(site).layer for site in sites)
        if len(set(labels)) < len(labels):
            raise InputError("two of the latent sites are in the same layer; attribute them one at a time")
    elif name == "position":
        labels = tuple(range(int(task.lengths[0])))
    elif name == "role":
        labels = task.roles
    elif isinstance(first, LatentSite):
        labels = tuple(range(_n_latents(model, sites)))
    else:
        labels = tuple(range(n_heads_at(model, first) if name == "head" else int(model.cfg.d_mlp)))
    return Axis(name, labels)


@torch.no_grad()
def _n_latents(model: Any, sites: Sequence[AnySite]) -> int:
    """How many latents the codecs have; tried on a zero activation."""
    reference = next(iter(model.parameters()))
    counts = set()
    for site in sites:
        assert isinstance(site, LatentSite)
        kind = site.site.kind
        width = int(model.cfg.d_mlp if kind in ("mlp_pre", "mlp_post") else model.cfg.d_model)
        if site.site.head_dim is not None:
            raise InputError(f"latents of {kind} are told apart by head; attribute latents of a residual or MLP site")
        counts.add(site.codec.encode(torch.zeros(1, 1, width).to(reference)).shape[-1])
    if len(counts) > 1:
        raise InputError(f"the dictionaries differ in size ({sorted(counts)}); attribute them one at a time")
    return int(counts.pop())
