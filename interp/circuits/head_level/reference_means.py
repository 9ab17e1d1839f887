"""What a knocked-out head writes instead: its mean over a reference set, per group of prompts and position.

The knock-out of Wang et al. 2022 (section 2.2): prompts in which three unrelated names stand say nothing about which
name follows, and the mean over them, taken within a template, keeps everything that the template alone decides.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import InputError
from interp.hooks import sites
from interp.hooks.capturing import capture
from interp.hooks.partial import embedding_device
from interp.hooks.prompts import PromptTokens
from interp.runs import progress

PASS_TOKENS = 512
"""Tokens a capture: every head of every layer is held for these and no more."""

Layout = tuple[str, int, tuple[tuple[str, int], ...]]
"""Group, length and named positions: prompts alike in all three have the same thing at the same position."""


@dataclass(frozen=True, eq=False)
class GroupMeans:
    """The mean of z over a reference set, by layout, layer, position and head.

    means: layout -> Float[layer, pos, head, d_head]. counts: prompts a layout. source: what is known of the reference
    set, JSON-able, for the settings of every result that uses it.
    """

    means: Mapping[Layout, Float[Tensor, "layer pos head d_head"]]
    counts: Mapping[Layout, int]
    source: Mapping[str, Any]

    def of(self, layout: Layout) -> Float[Tensor, "layer pos head d_head"]:
        """The means of one layout. Raises InputError when the reference set has no such prompt."""
        if layout not in self.means:
            group, length, _ = layout
            raise InputError(
                f"the reference set has no prompt of group {group!r} with {length} tokens and the same named "
                "positions; draw it with the same templates, or take task.corrupt"
            )
        return self.means[layout]

    def describe(self) -> dict[str, Any]:
        """How many prompts there are, how many in the smallest group, and where they come from."""
        counts = list(self.counts.values())
        sizes = {"prompts": sum(counts), "groups": len(counts), "smallest_group": min(counts)}
        return {**sizes, **self.source}


def layouts_of(tokens: PromptTokens) -> list[Layout]:
    """The layout of every prompt."""
    named = {role: at.tolist() for role, at in sorted(tokens.positions.items())}
    return [
        (group, length, tuple((role, at[row]) for role, at in named.items()))
        for row, (group, length) in enumerate(zip(tokens.groups, tokens.lengths.tolist()))
    ]


@torch.no_grad()
def group_means(
    model: Any, tokens: Int[Tensor, "prompt pos"], *, source: Mapping[str, Any] | None = None
) -> GroupMeans:
    """Run a reference set once and keep the mean output of every head, per group and position.

    tokens: for example `interp.tasks.ioi(model, n=750, seed=1, corruption="abc").corrupt`, drawn with another seed
    than the prompts that are evaluated. Prompts of one group that differ in length or named positions are averaged
    apart. source: what to print about them (default: their number and a hash). Raises InputError for plain tensors,
    which know no groups.
    """
    if not isinstance(tokens, PromptTokens):
        raise InputError("a mean per group needs prompts that know their groups: give task.corrupt of another draw")
    layers = range(int(model.cfg.n_layers))
    plain = tokens.as_subclass(Tensor).to(embedding_device(model))
    members: dict[Layout, list[int]] = {}
    for row, layout in enumerate(layouts_of(tokens)):
        members.setdefault(layout, []).append(row)
    means: dict[Layout, Tensor] = {}
    with progress(len(tokens), "averaging heads over the reference set") as bar:
        for layout, rows in members.items():
            total: Tensor | float = 0.0
            length = layout[1]
            step = max(1, PASS_TOKENS // length)
            for part in (rows[i : i + step] for i in range(0, len(rows), step)):
                acts = capture(model, plain[part, :length], [sites.z(layer) for layer in layers])
                total = total + torch.stack([acts[sites.z(layer)].float().sum(0) for layer in layers])
                bar.advance(len(part))
            means[layout] = total / len(rows)  # type: ignore[assignment]
    hashed = hashlib.sha256(repr(plain.tolist()).encode()).hexdigest()
    return GroupMeans(means, Counter(layouts_of(tokens)), {**(source or {}), "sha256": hashed})


def as_means(model: Any, reference: GroupMeans | PromptTokens) -> GroupMeans:
    """Means as they are, or those of the given prompts."""
    return reference if isinstance(reference, GroupMeans) else group_means(model, reference)
