"""The slow twin of `interp.patching.sweep`: one cell, one full forward pass, one TransformerLens hook."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from interp.hooks.sites import Site
from interp.patching.cells import all_cells, axes_of
from interp.tasks import PromptPairs


def patched_metrics(model: Any, task: PromptPairs, over: str, by: tuple[str, ...], direction: str) -> Tensor:
    """m(patched) of every cell and prompt, [*axes, batch]."""
    layers = list(range(int(model.cfg.n_layers)))
    axes = axes_of(model, task, over, by, layers, None)
    run_tokens, donor_tokens = (task.corrupt, task.clean) if direction == "denoise" else (task.clean, task.corrupt)
    metric = task.corrupt_metric if direction == "denoise" else task.metric
    _, donor = model.run_with_cache(donor_tokens.as_subclass(Tensor))
    scores = torch.zeros(*map(len, axes), len(task))
    if over == "resid_mid":
        return _mid_patched_metrics(model, run_tokens, donor, metric, all_cells(task, axes, layers, direction), scores)
    for cell in all_cells(task, axes, layers, direction):

        def hook(value: Tensor, hook: Any, cell: Any = cell) -> Tensor:
            layer = int(hook.name.split(".")[1])
            return _patched(value.clone(), donor[Site(over, layer).hook], cell, over == "pattern")

        hooks = [(Site(over, layer).hook, hook) for layer in cell.layers]
        logits = model.run_with_hooks(run_tokens.as_subclass(Tensor), fwd_hooks=hooks)
        scores[cell.index] = metric(logits)
    return scores


def _patched(value: Tensor, donor: Tensor, cell: Any, is_pattern: bool) -> Tensor:
    heads = range(value.shape[1 if is_pattern else 2]) if value.ndim == 4 else [None]
    for row in range(len(value)):
        positions = range(value.shape[2 if is_pattern else 1]) if cell.to is None else [int(cell.to[row])]
        for to in positions:
            source = to if cell.source is None else int(cell.source[row])
            for head in heads:
                if cell.head is not None and head != cell.head:
                    continue
                if is_pattern:
                    value[row, head, to] = donor[row, head, source]
                elif head is None:
                    value[row, to] = donor[row, source]
                else:
                    value[row, to, head] = donor[row, source, head]
    return value


def _mid_patched_metrics(
    model: Any, tokens: Tensor, donor: Any, metric: Any, cells: list[Any], scores: Tensor
) -> Tensor:
    """The same for `resid_mid`, by hand: TransformerLens's hook there changes what the MLP reads, not the stream."""
    _, base = model.run_with_cache(tokens.as_subclass(Tensor))
    n_layers = int(model.cfg.n_layers)
    for cell in cells:
        (layer,) = cell.layers
        name = Site("resid_mid", layer).hook
        middle = _patched(base[name].clone(), donor[name], cell, is_pattern=False)
        block = model.blocks[layer]
        stream = middle + block.mlp(block.ln2(middle))
        last = layer + 1 == n_layers
        logits = model.unembed(model.ln_final(stream)) if last else model(stream, start_at_layer=layer + 1)
        scores[cell.index] = metric(logits)
    return scores
