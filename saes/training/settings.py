"""`FitSettings`: how to train, whatever the data."""

from __future__ import annotations

from dataclasses import dataclass, field

from interp.errors import InputError
from saes.kernels.calibration import Plan
from saes.training.engine import EngineSettings
from saes.training.schedules import Schedule


@dataclass(frozen=True)
class FitSettings:
    """How to train, whatever the data."""

    n_tokens: int = 1_000_000
    """Tokens to train on; data that hold fewer are gone through again in another order."""
    batch_size: int = 1024
    """Tokens a step."""
    seed: int = 0
    """Decides directions, order and every other random draw."""
    n_seeds: int = 1
    """Dictionaries of each kind, with other directions at the start, on the same tokens: how much is chance."""
    normalise: str = "mean-norm"
    """What is done to activations and folded away afterwards: none, mean, norm, mean-norm or whiten."""
    precision: str = "auto"
    """float32 or bfloat16 for the encoder's product; auto measures."""
    plan: Plan | None = None
    """How a step is computed, to the last choice (None: measured at the start; the checkpoint keeps it)."""
    schedule: Schedule = field(default_factory=Schedule)
    """Learning rate and the like."""
    engine: EngineSettings = field(default_factory=EngineSettings)
    """Optimiser, and when a latent counts as dead."""
    held_out_tokens: int = 16_384
    """Held-out tokens on which dictionaries are measured at the end and, with evaluate_every, on the way."""
    log_every: int = 50
    """Steps between two lines of the log."""
    evaluate_every: int = 0
    """Steps between two measurements on held-out activations (0: at the end only)."""
    checkpoint_minutes: float = 5.0
    """Minutes between two checkpoints."""

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.n_tokens < self.batch_size:
            raise InputError(f"n_tokens ({self.n_tokens}) must hold at least one batch of {self.batch_size} tokens")
        if self.n_seeds < 1 or self.log_every < 1:
            raise InputError("n_seeds and log_every are at least 1")

    @property
    def n_steps(self) -> int:
        """Whole batches in n_tokens."""
        return self.n_tokens // self.batch_size

    @property
    def dead_after(self) -> int:
        """Tokens without firing after which a latent counts as dead: what the engine is told, else a twentieth of the
        training and at most a million."""
        told = self.engine.dead_after
        return told if told is not None else max(10 * self.batch_size, min(1_000_000, self.n_tokens // 20))
