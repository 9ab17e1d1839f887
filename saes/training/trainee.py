"""`Trainee`: one dictionary on its way through a training, with its site, its normalisation and its running numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from jaxtyping import Float
from torch import Tensor

from interp.errors import InputError
from saes.activations.streams import State
from saes.architectures import Dictionary
from saes.architectures.normalisation import Normalisation
from saes.training.engine import Engine, StepStats
from saes.training.resampling import resample
from saes.training.schedules import Schedule

NORMALISATION = ("mean", "matrix", "inverse")


class Trainee:
    """name: in logs and directories. site: whose activations it learns. engine, normalisation: how. seed: of its draws.

    Numbers are summed on the device and read once per line of the log, so that no step waits for them.
    """

    def __init__(self, name: str, site: str, engine: Engine, normalisation: Normalisation, seed: int = 0) -> None:
        self.name, self.site, self.seed = name, site, seed
        self.engine, self.normalisation = engine, normalisation
        self._sums: dict[str, Tensor] = {}
        self._n_summed = 0

    def step(self, x: Float[Tensor, "tokens d_in"], schedule: Schedule, step: int, n_steps: int) -> None:
        """One step on activations as they come from the model."""
        k = getattr(self.engine.dictionary.config, "k", None)
        x = self.normalisation.apply(x)
        stats = self.engine.step(
            x,
            schedule.lr_at(step, n_steps),
            schedule.sparsity_at(step, n_steps),
            None if k is None else schedule.k_at(step, n_steps, k),
        )
        self._add(stats)
        if schedule.resamples_at(step, n_steps):
            resample(self.engine, x, self.seed)

    def _add(self, stats: StepStats) -> None:
        for name, value in {**stats._asdict(), "loss": stats.loss}.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value.clone()
        self._n_summed += 1

    def numbers(self) -> dict[str, float]:
        """Means since the last call (waits for the device): loss and its parts, l0, explained variance, dead share.

        Raises InputError when the loss is no longer a number.
        """
        if not self._n_summed:
            return {}
        self.check()
        means = {name: float(value) / self._n_summed for name, value in self._sums.items()}
        self._sums, self._n_summed = {}, 0
        varies = means["variance"] > 0
        means["explained_variance"] = 1 - means["squared_error"] / means["variance"] if varies else math.nan
        means["dead"] = len(self.engine.dead) / self.engine.dictionary.d_sae
        return means

    def check(self) -> None:
        """Raise InputError when the loss is no longer a number (waits for the device)."""
        loss = float(self._sums.get("loss", 0.0))
        if not math.isfinite(loss):
            raise InputError(
                f"the loss of {self.name} is {loss}: activations at {self.site} hold NaN or infinity, or the learning "
                "rate is far too high; the last checkpoint is from before this"
            )

    def finished(self) -> Dictionary:
        """The dictionary in its plain inference form, for activations as they come from the model."""
        return self.normalisation.fold_into(self.engine.dictionary)

    def state(self) -> State:
        """Everything that decides its next step and its next line of the log."""
        tensors, plain = self.engine.state()
        tensors |= {f"sums.{name}": value for name, value in self._sums.items()}
        for name in NORMALISATION:
            value = getattr(self.normalisation, name)
            if value is not None:
                tensors[f"normalisation.{name}"] = value
        return tensors, plain | {"summed": self._n_summed, "scale": self.normalisation.scale}

    def restore(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Go back to a state."""
        self.engine.restore(tensors, plain)
        device = self.engine.dictionary.decoder.device
        own = {name: tensors.get(f"normalisation.{name}") for name in NORMALISATION}
        assert own["mean"] is not None
        self.normalisation = Normalisation(own["mean"], float(plain["scale"]), own["matrix"], own["inverse"])
        self._n_summed = int(plain["summed"])
        self._sums = {n.removeprefix("sums."): v.to(device) for n, v in tensors.items() if n.startswith("sums.")}
