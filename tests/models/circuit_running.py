"""The slow, obvious reference for circuits: a decoder in NumPy, float64, run for every row of a matrix of kept edges.

As `edge_patching`, but edges that are not kept are ablated all together: their readers get the writer's contribution of
another run (or nothing), kept edges the contribution of this very run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from tests.models.edge_patching import Edge, Reference, Written, metric


class CircuitReference(Reference):
    """Evaluates many sets of kept edges on one batch of prompts."""

    def keep(self, tokens, kept: np.ndarray, edges: Sequence[Edge], ablated: Written | None) -> np.ndarray:
        """Logits [set, batch, vocab] at the last position; `kept` is boolean [set, edge], `ablated` what replaces."""
        weights, tokens, column = self.weights, np.asarray(tokens), {edge: i for i, edge in enumerate(edges)}
        embedded = weights["embed.weight"][tokens] + weights["pos_embed.weight"][: tokens.shape[1]]
        written = {"embed": np.broadcast_to(embedded, (len(kept), *embedded.shape))}

        def read(reader: str) -> np.ndarray:
            total = np.zeros(written["embed"].shape)
            for writer, value in written.items():
                here = kept[:, column[writer, reader]][:, None, None, None]
                total += np.where(here, value, 0.0 if ablated is None else ablated[writer])
            return total

        for layer in range(self.n_layers):
            heads = {f"a{layer}.{head}": self._head(layer, head, read) for head in range(self.n_heads)}
            written.update(heads)
            if f"blocks.{layer}.mlp.in.weight" in weights:
                written[f"m{layer}"] = self._mlp(layer, read(f"m{layer}"))
        return read("logits")[:, :, -1] @ weights["unembed.weight"].T


def faithful(model, pairs, kept: np.ndarray, edges: Sequence[Edge], ablation: str, tolerance: float) -> np.ndarray:
    """Which rows of `kept` give every pair its clean metric when all other edges are ablated; boolean [set]."""
    clean, corrupt, answers, distractors = pairs
    reference = CircuitReference(model)
    ablated = None if ablation == "zero" else reference.run(corrupt)[1]
    target = metric(reference.run(clean)[0], answers, distractors)
    good = []
    for rows in np.array_split(kept, max(1, len(kept) // 256)):
        logits = reference.keep(clean, rows, edges, ablated)
        values = np.stack([metric(one, answers, distractors) for one in logits])
        good.append(np.abs(values - target).max(-1) < tolerance)
    return np.concatenate(good)


def all_subsets(n: int) -> np.ndarray:
    """Boolean [2**n, n]: row i holds the bits of i, the lowest first."""
    return (np.arange(2**n)[:, None] >> np.arange(n)) % 2 == 1


def irreducible(good: np.ndarray) -> Iterator[tuple[int, ...]]:
    """Of `all_subsets`, the good ones from which no single element can be taken out, as indices of their elements."""
    n = len(good).bit_length() - 1
    for index in np.flatnonzero(good):
        elements = tuple(bit for bit in range(n) if index >> bit & 1)
        if not any(good[index - (1 << bit)] for bit in elements):
            yield elements
