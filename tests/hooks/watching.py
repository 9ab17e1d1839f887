"""Seeing from outside what a model does: which blocks run, whether it unembeds, and whether anything is left behind."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch

from interp.hooks import sites
from interp.hooks.capturing import TELLING_ROWS_APART
from interp.hooks.sites import KINDS, Site, hook_points, reached_hooks


def all_sites(model: Any) -> list[Site]:
    """Every site of the model that can be read."""
    layers = range(model.cfg.n_layers)
    every = [Site(kind) for kind in KINDS if kind in ("embed", "pos_embed", "final_scale")]
    every += [
        Site(kind, layer) for layer in layers for kind in KINDS if kind not in ("embed", "pos_embed", "final_scale")
    ]
    live = [site for site in every if site.hook in reached_hooks(model)]
    return [site for site in live if site.kind != "scores" or sites.has_live_scores(model, site.layer or 0)]


@contextlib.contextmanager
def counting(model: Any) -> Iterator[Counter[Any]]:
    """Counts executions of the wrapped blocks (by number) and of the "unembed", by hooks on the wrapped modules."""
    ran: Counter[Any] = Counter()

    def note(what: Any) -> Any:
        return lambda *ignored: ran.update([what])

    watched = [(layer, block.original_component) for layer, block in enumerate(model.blocks)]
    watched.append(("unembed", model.unembed.original_component))
    handles = [module.register_forward_pre_hook(note(what)) for what, module in watched]
    try:
        yield ran
    finally:
        for handle in handles:
            handle.remove()


def traces(model: Any) -> dict[str, Any]:
    """Everything that hooks, partial runs and probes attach to a model while they work; compare before and after."""
    model(torch.zeros((1, 1), dtype=torch.long))  # the bridge attaches its own in the first pass
    found: dict[str, Any] = {}
    for name, point in hook_points(model).items():
        found[name] = (len(point.fwd_hooks), len(point.bwd_hooks), len(point._forward_hooks))
    for name, module in [*model.named_modules(), *model.original_model.named_modules()]:
        hooks = (len(module._forward_pre_hooks), len(module._forward_hooks))
        found[f"{name} of {type(module).__name__}"] = (*hooks, "forward" in module.__dict__)
    for layer, block in enumerate(model.blocks):
        for flag in ("_stop_at_layer_idx", "_start_at_layer_idx", "_start_residual"):
            found[f"blocks.{layer}.{flag}"] = getattr(block, flag, None)
    found["apart"] = list(TELLING_ROWS_APART.get(model, []))
    return found
