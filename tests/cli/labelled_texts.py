"""Labelled texts as a user writes them, for commands that probe."""

from __future__ import annotations

import json
from pathlib import Path

import torch


def save_labelled(path: Path, n: int) -> str:
    """Store n texts of words, each labelled by its last one, and return the path as text."""
    generator = torch.Generator().manual_seed(0)
    words = torch.randint(3, 99, (n, 5), generator=generator).tolist()
    lines = [{"text": " ".join(f"w{i}" for i in row), "label": "odd" if row[-1] % 2 else "even"} for row in words]
    path.write_text("\n".join(map(json.dumps, lines)))
    return str(path)
