"""Which edges of a hand-built model can carry anything at all, from products of its weights alone."""

from __future__ import annotations

import re

import numpy as np

from tests.models.edge_patching import Edge, Reference


def live_edges(model, edges: tuple[Edge, ...]) -> list[Edge]:
    """The edges whose writer writes what their reader reads, and whose reader reaches the logits through such edges."""
    weights = Reference(model).weights
    d_head = model.cfg.d_head
    composed = [
        edge for edge in edges if np.abs(_written(weights, edge[0], d_head) @ _read(weights, edge[1], d_head)).max()
    ]
    live: set[Edge] = set()
    while True:
        reaching = {"logits"} | {writer for writer, _ in live}
        grown = {(w, r) for w, r in composed if re.sub(r"\.[qkv]$", "", r) in reaching}
        if grown == live:
            return [edge for edge in edges if edge in live]
        live = grown


def _written(weights, writer: str, d_head: int) -> np.ndarray:
    """Rows that span what a writer can write, [row, d_model]."""
    if writer == "embed":
        return np.concatenate([weights["embed.weight"], weights["pos_embed.weight"]])
    if writer.startswith("m"):
        return weights[f"blocks.{writer[1:]}.mlp.out.weight"].T
    layer, head = map(int, writer[1:].split("."))
    columns = slice(head * d_head, (head + 1) * d_head)
    return weights[f"blocks.{layer}.attn.o.weight"][:, columns].T


def _read(weights, reader: str, d_head: int) -> np.ndarray:
    """Columns that a reader multiplies its input with, [d_model, column]."""
    if reader == "logits":
        return weights["unembed.weight"].T
    if reader.startswith("m"):
        return weights[f"blocks.{reader[1:]}.mlp.in.weight"].T
    layer, head, letter = reader[1:].split(".")
    rows = slice(int(head) * d_head, (int(head) + 1) * d_head)
    return weights[f"blocks.{layer}.attn.{letter}.weight"][rows].T
