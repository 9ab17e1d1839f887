"""The slow, obvious reference: a decoder in NumPy, float64, in which any set of edges can be patched exactly.

Shares nothing with the library but the weights: the residual stream is kept as a list of what each writer wrote, and
every reader adds up its own input, taking patched writers from another run (or nothing, for zero ablation).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

Edge = tuple[str, str]
Written = Mapping[str, np.ndarray]


class Reference:
    """A small model without normalisation: `blocks.i.attn` and, when it has them, relu MLPs."""

    def __init__(self, model) -> None:
        self.weights = {name: tensor.double().numpy() for name, tensor in model.state_dict().items()}
        self.n_layers, self.n_heads, self.d_head = model.cfg.n_layers, model.cfg.n_heads, model.cfg.d_head

    def run(self, tokens, edges: Collection[Edge] = (), source: Written | None = None):
        """Logits at the last position and what every writer wrote, with `edges` taken from `source` (None: zeros)."""
        weights, tokens = self.weights, np.asarray(tokens)
        written = {"embed": weights["embed.weight"][tokens] + weights["pos_embed.weight"][: tokens.shape[1]]}

        def read(reader: str) -> np.ndarray:
            total = 0.0
            for writer, value in list(written.items()):
                if (writer, reader) in edges:
                    value = np.zeros_like(value) if source is None else source[writer]
                total = total + value
            return total

        for layer in range(self.n_layers):
            heads = {f"a{layer}.{head}": self._head(layer, head, read) for head in range(self.n_heads)}
            written.update(heads)
            if f"blocks.{layer}.mlp.in.weight" in weights:
                written[f"m{layer}"] = self._mlp(layer, read(f"m{layer}"))
        return read("logits")[:, -1] @ weights["unembed.weight"].T, written

    def _head(self, layer: int, head: int, read) -> np.ndarray:
        rows = slice(head * self.d_head, (head + 1) * self.d_head)
        query, key, value = (
            read(f"a{layer}.{head}.{letter}") @ self.weights[f"blocks.{layer}.attn.{letter}.weight"][rows].T
            for letter in "qkv"
        )
        scores = query @ key.swapaxes(-1, -2) / np.sqrt(self.d_head)
        scores = np.where(np.tril(np.ones(scores.shape[-2:], bool)), scores, -np.inf)
        pattern = np.exp(scores - scores.max(-1, keepdims=True))
        pattern /= pattern.sum(-1, keepdims=True)
        return pattern @ value @ self.weights[f"blocks.{layer}.attn.o.weight"][:, rows].T

    def _mlp(self, layer: int, x: np.ndarray) -> np.ndarray:
        hidden = np.maximum(x @ self.weights[f"blocks.{layer}.mlp.in.weight"].T, 0.0)
        return hidden @ self.weights[f"blocks.{layer}.mlp.out.weight"].T


def metric(logits: np.ndarray, answers, distractors) -> np.ndarray:
    """logit(answer) - logit(distractor), one value a prompt."""
    answers, distractors = np.asarray(answers), np.asarray(distractors)
    return (np.take_along_axis(logits, answers, 1) - np.take_along_axis(logits, distractors, 1))[:, 0]


def exact_effects(model, pairs, edges: Collection[Edge], ablation: str, direction: str) -> dict[Edge, np.ndarray]:
    """Effect of patching each edge alone, one value a pair; signs as in `interp.models.toy.truth`."""
    clean, corrupt, answers, distractors = pairs
    reference = Reference(model)
    base, other = (clean, corrupt) if direction == "noise" else (corrupt, clean)
    source = None if ablation == "zero" else reference.run(other)[1]
    before = metric(reference.run(base)[0], answers, distractors)
    sign = 1.0 if direction == "noise" else -1.0
    return {
        edge: sign * (before - metric(reference.run(base, {edge}, source)[0], answers, distractors)) for edge in edges
    }


def edge_slopes(model, pairs, edges: Collection[Edge], direction: str, step: float = 1e-6) -> dict[Edge, np.ndarray]:
    """Rate at which the metric changes when an edge begins to be patched, per whole patch: what attribution says."""
    clean, corrupt, answers, distractors = pairs
    reference = Reference(model)
    base, other = (clean, corrupt) if direction == "noise" else (corrupt, clean)
    here, there = reference.run(base)[1], reference.run(other)[1]
    slopes = {}
    for edge in edges:
        ends = [{edge[0]: here[edge[0]] + way * step * (there[edge[0]] - here[edge[0]])} for way in (-1.0, 1.0)]
        low, high = (metric(reference.run(base, {edge}, end)[0], answers, distractors) for end in ends)
        slopes[edge] = (low - high if direction == "noise" else high - low) / (2 * step)
    return slopes
