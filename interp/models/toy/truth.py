"""What is known by construction about a hand-built model: which edges carry its task, and by how much.

Edges are named as everywhere in the workbench: writers `embed`, `a0.1` (layer 0, head 1), `m0`; readers `a1.0.q`,
`m1`, `logits`. An effect is positive when the edge carries what makes the clean prompt clean:

    noise    corrupt into clean,  m(clean) - m(patched)
    denoise  clean into corrupt,  m(patched) - m(corrupt)

with m = logit(answer) - logit(distractor) at the last position. The ablation "counterfactual" replaces what the writer
contributes to the reader by what it wrote on the paired prompt, "zero" by nothing. Only noising goes with "zero":
a model without any of its contributions has no state into which one could be put back.

A set of edges is sufficient for an ablation when the clean run in which every other edge is ablated has the clean
metric. The toys state the irreducible ones, from which no single edge can be taken out; that is what edge-by-edge
pruning can find. An irreducible set may contain a smaller sufficient one, from which two or more edges at once were
taken out: sufficiency is not monotone (a query and its key, both corrupt, match each other again).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Edge = tuple[str, str]


@dataclass(frozen=True)
class Case:
    """What patching one edge means."""

    ablation: str
    """counterfactual | zero"""
    direction: str
    """noise | denoise"""


NOISE = Case("counterfactual", "noise")
DENOISE = Case("counterfactual", "denoise")
ZERO = Case("zero", "noise")


@dataclass(frozen=True)
class Truth:
    """The known answer for one toy."""

    edges: tuple[Edge, ...]
    """Every edge of the model's graph, in the order in which readers read."""
    active: Mapping[Case, frozenset[Edge]]
    """Edges whose patching alone moves the metric; every other edge has an effect of exactly nothing."""
    effects: Mapping[Case, Mapping[Edge, float]]
    """Effect of patching each active edge alone, in logits; edges whose effect differs between pairs are missing."""
    sufficient: tuple[frozenset[Edge], ...]
    """The irreducible sufficient sets under counterfactual ablation, smallest first."""
    sufficient_zero: tuple[frozenset[Edge], ...] | None
    """The same under zero ablation; None where it was not worked out."""
    total: float | None
    """m(clean) - m(corrupt) in logits; None where pairs differ."""
    flat: Mapping[Case, frozenset[Edge]] = field(default_factory=dict)
    """Active edges along which the metric does not change at first, though it does in the end: attention is saturated,
    or a ReLU off. A gradient at the clean run (NOISE) or the corrupt run (DENOISE) is zero there."""

    @property
    def in_a_circuit(self) -> frozenset[Edge]:
        """Edges of any irreducible sufficient set under counterfactual ablation, whether patching them alone shows."""
        return frozenset().union(*self.sufficient)


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
