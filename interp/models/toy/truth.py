"""What is known by construction about a hand-built model: which edges carry its task, and by how much.

Edges are named as everywhere in the workbench: writers `embed`, `a0.1` (layer 0, head 1), `m0`; readers `a1.0.q`,
`m1`, `logits`. An effect is positive when the edge carries what makes the clean prompt clean:

    noise    corrupt into clean,  m(clean) - m(patched)
    denoise  clean into corrupt,  m(patched) - m(corrupt)

with m = logit(answer) - logit(distractor) at the last position. The ablation "resample" replaces what the writer
contributes to the reader by what it wrote on the paired prompt, "zero" by nothing. Only noising goes with "zero".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Edge = tuple[str, str]


@dataclass(frozen=True)
class Case:
    """What patching one edge means."""

    ablation: str
    """resample | zero"""
    direction: str
    """noise | denoise"""


@dataclass(frozen=True)
class Truth:
    """The known answer for one toy."""

    edges: tuple[Edge, ...]
    """Every edge of the model's graph, in the order in which readers read."""
    active: Mapping[Case, frozenset[Edge]]
    """Edges whose patching alone moves the metric; every other edge has an effect of exactly nothing."""
    effects: Mapping[Case, Mapping[Edge, float]]
    """Effect of patching each active edge alone, in logits, for every pair; a case is missing where pairs differ."""
    sufficient: tuple[frozenset[Edge], ...]
    """The minimal sets of edges that, kept clean while all others are corrupt (resample), give the clean metric."""
    total: float | None
    """m(clean) - m(corrupt) in logits; None where pairs differ."""


def edge_names(n_layers: int, n_heads: int, attn_only: bool) -> tuple[Edge, ...]:
    """Every (writer, reader) pair of a decoder without grouped keys: a reader sees all that was written before it."""
    edges: list[Edge] = []
    written = ["embed"]
    for layer in range(n_layers):
        heads = [f"a{layer}.{head}" for head in range(n_heads)]
        edges += [(writer, f"{head}.{letter}") for head in heads for letter in "qkv" for writer in written]
        written += heads
        if not attn_only:
            edges += [(writer, f"m{layer}") for writer in written]
            written.append(f"m{layer}")
    return tuple(edges + [(writer, "logits") for writer in written])
