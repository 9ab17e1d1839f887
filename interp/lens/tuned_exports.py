"""A tuned lens for the package `tuned-lens` (0.2), whose `TunedLens.from_model_and_pretrained` reads two files:

    config.json    the same keys as here, which are its `TunedLensConfig`
    params.pt      by torch.save: the state dict of its `layer_translators`, "0.weight" [out, in], "0.bias", ...,
                   one nn.Linear for the stream that enters each block (its `hidden_states[i]`), added to that stream

Writing params.pt runs nothing, and since it holds plain tensors, `torch.load(weights_only=True)` reads all of it.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import torch

from interp.lens.translators import CONFIG, PICKLED, TunedLens
from interp.runs import atomic_write


def export_tuned_lens(lens: TunedLens, directory: str | Path) -> Path:
    """Write config.json and params.pt into a directory; returns it. `TunedLens.save` writes what is read here.

    Raises StorageError when the disk is full or read-only.
    """
    directory = Path(directory).expanduser()
    content = io.BytesIO()
    torch.save(lens.parameters(), content)
    atomic_write(directory / PICKLED, content.getvalue())
    atomic_write(directory / CONFIG, json.dumps(lens.config(), indent=1) + "\n")
    return directory
