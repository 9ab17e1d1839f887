"""`TrainingRun`: what a training leaves: dictionaries, the numbers on the way, and where they are kept."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from torch import Tensor

import saes.formats.native as native
from interp.errors import InputError
from saes.architectures import Dictionary
from saes.evals.evaluating import DictionaryEvaluation

DICTIONARIES = "dictionaries"
"""Where a run directory keeps its dictionaries."""
MAX_LINES = 12
"""Dictionaries that the printed form names."""


@dataclass(eq=False, repr=False)
class TrainingRun:
    """dictionaries: by name, in their plain inference form, for activations as they come from the model.
    directory: where they and the checkpoints are kept (None: nowhere). log: a line for every time numbers were read.
    firing: share of held-out tokens each latent fires on, by dictionary. evaluation: by site, inside the model.
    """

    dictionaries: dict[str, Dictionary]
    directory: Path | None = None
    log: list[dict[str, Any]] = field(default_factory=list)
    firing: dict[str, Tensor] = field(default_factory=dict)
    evaluation: dict[str, DictionaryEvaluation] = field(default_factory=dict)

    def __repr__(self) -> str:
        told = []
        for name in self.dictionaries:
            last = self.last(name) if any(line["dictionary"] == name for line in self.log) else {}
            numbers = (last.get(f"held_out_{key}", last.get(key, math.nan)) for key in ("l0", "explained_variance"))
            told.append("    {}: L0 {:.3g}, EV {:.3f}".format(name, *numbers))
        where = "kept nowhere" if self.directory is None else str(self.directory)
        head = f"TrainingRun of {len(self.dictionaries)} dictionaries, {where}"
        return "\n".join([head, *told[:MAX_LINES], *(["    ..."] if len(told) > MAX_LINES else [])])

    def keep(self) -> None:
        """Write every dictionary into the run's directory, those left out that are there already."""
        assert self.directory is not None
        for name, dictionary in self.dictionaries.items():
            target = self.directory / DICTIONARIES / name
            if not target.exists():
                native.write(dictionary, target, self.firing.get(name))

    @property
    def dictionary(self) -> Dictionary:
        """The dictionary, when there is exactly one. Raises InputError when there are several."""
        if len(self.dictionaries) != 1:
            raise InputError(
                f"this run has {len(self.dictionaries)} dictionaries; choose one of {list(self.dictionaries)}"
            )
        return next(iter(self.dictionaries.values()))

    def metrics(self) -> pd.DataFrame:
        """The numbers on the way: a row for each dictionary and each time they were read."""
        return pd.DataFrame(self.log)

    def last(self, name: str | None = None) -> dict[str, Any]:
        """The last numbers of a dictionary (of the only one, by default)."""
        wanted = name or next(iter(self.dictionaries))
        found: dict[str, Any] = {}
        for line in self.log:
            if line["dictionary"] == wanted:
                found |= line
        if not found:
            raise InputError(f"no numbers were read for {wanted!r}")
        return found

    def on(self) -> str:
        """What the numbers of its table are of, in words."""
        if self.evaluation or any("held_out_l0" in line for line in self.log):
            return "On held-out documents"
        return "On the tokens trained on; nothing was held out"

    def curves(self) -> pd.DataFrame:
        """Explained variance, active latents and dead share over training, as far as they were read."""
        frame = self.metrics()
        wanted = ["dictionary", "tokens", "loss", "explained_variance", "l0", "dead"]
        return frame[frame["loss"].notna()][wanted] if "loss" in frame else pd.DataFrame(columns=wanted)
