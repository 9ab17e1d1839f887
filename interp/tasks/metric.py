"""What a metric is: which logits it reads, and the number it makes of them for every pair.

A metric knows its pairs (their answers, where they are read), so it is called with logits alone. Leading dimensions
are runs: a sweep folds many patched runs into one batch and scores them all at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.hooks.readout import Readout


@runtime_checkable
class Score(Protocol):
    """Readout values [..., batch, read] to one number a pair [..., batch]; can be narrowed to some pairs and moved."""

    def __call__(self, values: Float[Tensor, "*runs batch read"]) -> Float[Tensor, "*runs batch"]: ...

    def rows(self, index: Tensor | slice) -> Score: ...

    def to(self, device: torch.device | str) -> Score: ...


@dataclass(frozen=True, eq=False)
class Metric:
    """A number for every pair.

    name, unit: what it is called and measured in ("logits", "nats", "probability", ...).
    readout: the positions and vocabulary columns it needs, of the clean prompts.
    score: values [..., batch, read] -> [..., batch].
    differentiable: whether gradients of it mean anything (ranks and accuracies are steps).
    higher_is_clean: True when the clean run scores higher than the corrupt run.
    position: the role of `task.positions` at which the readout begins.
    """

    name: str
    unit: str
    readout: Readout
    score: Score
    differentiable: bool
    higher_is_clean: bool
    position: str = "end"

    def __call__(self, logits: Float[Tensor, "*runs batch pos vocab"]) -> Float[Tensor, "*runs batch"]:
        """Gather the readout from full logits, then score."""
        return self.score(self.readout.gather(logits))

    def rows(self, index: Tensor | slice) -> Metric:
        """The metric of some of the pairs."""
        return replace(self, readout=self.readout.rows(index), score=self.score.rows(index))

    def to(self, device: torch.device | str) -> Metric:
        """The metric on another device."""
        return replace(self, readout=self.readout.to(device), score=self.score.to(device))

    def shifted(self, by: Int[Tensor, " batch"]) -> Metric:
        """The same metric read `by` positions later in each prompt (clean and corrupt prompts may differ in length)."""
        moved = Readout(self.readout.positions + by[:, None], self.readout.columns)
        return replace(self, readout=moved)

    def __repr__(self) -> str:
        n_pairs = len(self.readout.positions)
        return f"Metric({self.name!r}, unit={self.unit!r}, read at {self.position!r}, {n_pairs} pairs)"
