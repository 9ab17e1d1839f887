"""`FitSettings`: how to train, whatever the data."""

from __future__ import annotations

from dataclasses import dataclass, field

from interp.errors import InputError, unknown
from saes.architectures import DictionaryConfig, TopK
from saes.architectures.normalisation import KINDS
from saes.kernels.calibration import PRECISIONS, Plan
from saes.plain_values import check_values
from saes.training.engine import EngineSettings
from saes.training.schedules import Schedule

NESTED: dict[str, type] = {"plan": Plan, "schedule": Schedule, "engine": EngineSettings}
"""Settings that have settings of their own."""


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
        at_least = dict.fromkeys(("batch_size", "n_tokens", "n_seeds", "log_every"), 1)
        at_least |= dict.fromkeys(("seed", "held_out_tokens", "evaluate_every", "checkpoint_minutes"), 0)
        check_values(self, least=at_least)
        for name, kind in NESTED.items():
            if not isinstance(getattr(self, name), kind) and not (name == "plan" and self.plan is None):
                raise InputError(
                    f"{name} has to be {kind.__module__}.{kind.__name__}(...), not {getattr(self, name)!r}"
                )
        if self.n_tokens < self.batch_size:
            raise InputError(f"n_tokens ({self.n_tokens}) must hold at least one batch of {self.batch_size} tokens")
        if self.seed >= 2**40:
            raise InputError(f"seed has to be below 2**40, not {self.seed}")
        if self.normalise not in KINDS:
            raise unknown("normalisation", self.normalise, KINDS)
        if self.precision not in ("auto", *PRECISIONS):
            raise unknown("precision", self.precision, ("auto", *PRECISIONS))

    def check(self, config: DictionaryConfig) -> None:
        """Raise InputError for a dictionary that cannot be trained with these settings."""
        config.check_trainable()
        if self.normalise == "whiten" and config.decoder_norm != "unit":
            raise InputError(
                f"normalise 'whiten' needs decoder_norm 'unit', and {config.label()} has {config.decoder_norm!r}; "
                "choose decoder_norm 'unit', or normalise 'mean-norm'"
            )
        most = self.schedule.k_start
        if isinstance(config, TopK) and most is not None and most > config.d_sae:
            raise InputError(f"k_start ({most}) is more than the d_sae = {config.d_sae} latents of {config.label()}")

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
