"""How the training of a tuned lens went, as a result that can be drawn and kept."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

import torch

from interp.errors import InputError
from interp.lens.translators import TunedLens
from interp.lens.tuned_reading import lens_settings
from interp.models import identity
from interp.results import Axis, Plot, Result, Values
from interp.runs import provenance

SHOWN = 8
"""Layers that are drawn."""


class TunedLensCurve(Result):
    """kl [layer, step]: mean KL(model || layer) over the tokens of a training step, before it, in nats."""

    kind: ClassVar[str] = "tuned_lens_curve"


def learning_curve(model: Any, lens: TunedLens) -> TunedLensCurve:
    """The loss of every layer over the steps that were kept. Raises InputError for a lens without a history."""
    history = lens.training.get("history")
    if not history:
        raise InputError("this lens keeps no history of its training; only one trained here does")
    rows = torch.tensor(history, dtype=torch.float64)
    steps = Axis("step", tuple(int(step) for step in rows[:, 0]))
    values = Values(rows[:, 1:].T, (Axis("layer", tuple(range(lens.n_layers))), steps), "nats")
    step = -(-lens.n_layers // SHOWN)
    some = values.sel(layer=list(range(0, lens.n_layers, step)))
    estimated = "the normaliser is estimated from a sample of the vocabulary" if lens.training.get("vocabulary") else ""
    return TunedLensCurve(
        values={"kl": values, "kl_of_some_layers": some},
        settings=lens_settings(lens),
        provenance=provenance(model=identity(model), started=datetime.now(), seed=lens.training.get("seed")),
        plots=(
            Plot(
                "lines",
                "kl_of_some_layers",
                x="step",
                series="layer",
                title="Training: KL from the model's prediction",
                caption="Mean KL of some layers over the tokens of each training step, which are new each time.",
                caveat=f"A step reads few tokens, so the line is rough{'; ' + estimated if estimated else ''}.",
                options={"log_y": True},
            ),
        ),
    )
