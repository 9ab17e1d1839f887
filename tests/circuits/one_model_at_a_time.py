"""The slow twin of `AblatedRuns`: one knocked-out model, whole prompts, `interp.ablate` head by head; and prompts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import interp
from interp.circuits import HeadCircuit
from interp.circuits.head_level.ablated_runs import Kept
from interp.hooks.prompts import PromptTokens
from interp.tasks import PromptPairs, from_tokens
from tests.tiny_models import N_VOCAB

# Group -> length and the positions of "first", "second".
LAYOUTS = {"short": (7, 1, 4), "long": (9, 2, 6), "early": (9, 0, 6)}


def grouped_pairs(n_each: int = 3, seed: int = 0) -> PromptPairs:
    """Pairs of random tokens in three groups, of two lengths and with roles at different places."""
    generator = torch.Generator().manual_seed(seed)
    names = [name for _ in range(n_each) for name in LAYOUTS]
    clean = [torch.randint(3, N_VOCAB, (LAYOUTS[name][0],), generator=generator).tolist() for name in names]
    corrupt = [torch.randint(3, N_VOCAB, (LAYOUTS[name][0],), generator=generator).tolist() for name in names]
    answers = torch.randint(3, N_VOCAB, (len(names), 2), generator=generator)
    positions = {role: [LAYOUTS[name][i] for name in names] for i, role in ((1, "first"), (2, "second"))}
    return from_tokens(
        clean, corrupt, answers[:, :1], answers[:, 1:], positions=positions, groups=names, n_vocab=N_VOCAB, seed=seed
    )


def circuit(**places: str) -> HeadCircuit:
    """A circuit from role="heads"; each role is a class of its own."""
    heads = {role: tuple(tuple(map(int, head.split("."))) for head in names.split()) for role, names in places.items()}
    return HeadCircuit(heads, {role: (role,) for role in places})


def scores(model: Any, task: PromptPairs, reference: PromptTokens, kept: Kept) -> Tensor:
    """The metric of one knocked-out model on every prompt."""
    n_layers, n_heads = int(model.cfg.n_layers), int(model.cfg.n_heads)
    acts = interp.capture(model, reference, [interp.sites.z(layer) for layer in range(n_layers)])
    out = []
    for layer in range(n_layers):
        for head in range(n_heads):
            named = torch.zeros(task.clean.shape, dtype=torch.bool)
            for role in [role for at, one, role in kept.places if (at, one) == (layer, head)]:
                named[torch.arange(len(task)), task.positions[role]] = True
            real = torch.arange(task.clean.shape[1])[None] < task.lengths[:, None]
            cut = real & (~named if kept.inside else named)
            if bool(cut.any()):
                how: dict[str, Any] = {"value": "mean", "reference": acts, "mean_over": "group"}
                out.append(interp.ablate(interp.sites.z(layer), heads=[head], positions=cut, **how))
    with torch.no_grad(), interp.intervene(model, *out):
        return task.metric(model(task.clean)).float()
