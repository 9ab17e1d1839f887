"""A tuned lens in training: all that decides the rest of it, in one safetensors file that is whole or not there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from interp.errors import InputError
from interp.lens.tuned_coordinates import Coordinates
from interp.runs import atomic_write

FILE = "checkpoint.safetensors"
BETAS, EPSILON = (0.9, 0.999), 1e-8
PAIRS = ("first", "second", "best")
LOSSES = ("best_losses", "identity_losses")
STEERING = ("best_steps", "since", "rates")
"""What decides the steps of a layer, read on the CPU."""


@dataclass(eq=False)
class Checkpoint:
    """mixing, shift: the translators in their coordinates. first, second: Adam's moments of both, since the step
    `since` [layer]; rates [layer]: what share of the learning rate a layer takes. history: rows of step and each
    layer's KL. best: the translators that are kept, best_steps [layer] of which step, best_losses [layer] their
    held-out KL, and identity_losses that of no translator; held_out: rows of step and the best KL so far. whole: not
    in the middle of a step, where an interruption would leave half of one."""

    coordinates: Coordinates
    mixing: Float[Tensor, "layer d_model d_model"]
    shift: Float[Tensor, "layer d_model"]
    first: tuple[Tensor, Tensor]
    second: tuple[Tensor, Tensor]
    best: tuple[Tensor, Tensor]
    best_losses: Float[Tensor, " layer"]
    identity_losses: Float[Tensor, " layer"]
    best_steps: Int[Tensor, " layer"]
    since: Int[Tensor, " layer"]
    rates: Float[Tensor, " layer"]
    step: int = 0
    history: list[list[float]] = field(default_factory=list)
    held_out: list[list[float]] = field(default_factory=list)
    whole: bool = True

    @classmethod
    def fresh(cls, coordinates: Coordinates, mixing: Tensor, shift: Tensor) -> Checkpoint:
        """Before the first step."""
        first, second = ((torch.zeros_like(mixing), torch.zeros_like(shift)) for _ in range(2))
        best = (mixing.clone(), shift.clone())
        unknown = torch.full_like(shift[:, 0], float("inf"))
        steps = torch.zeros(len(mixing), dtype=torch.long)
        rates = torch.ones(len(mixing))
        return cls(
            coordinates, mixing, shift, first, second, best, unknown, unknown.clone(), steps, steps.clone(), rates
        )

    @torch.no_grad()
    def adam(self, slopes: Sequence[tuple[Tensor, Tensor]], rate: float, losses: Tensor | None = None) -> None:
        """One step of Adam (Kingma & Ba 2015) on all layers; slopes: (mixing, shift) of each. losses: to remember."""
        self.whole = False
        self.step += 1
        for which, values in enumerate((self.mixing, self.shift)):
            for layer, slope in enumerate(pair[which] for pair in slopes):
                corrections = [1 - beta ** (self.step - int(self.since[layer])) for beta in BETAS]
                share = rate * float(self.rates[layer])
                first = self.first[which][layer].lerp_(slope, 1 - BETAS[0])
                second = self.second[which][layer].mul_(BETAS[1]).addcmul_(slope, slope, value=1 - BETAS[1])
                spread = (second / corrections[1]).sqrt_().add_(EPSILON)
                values[layer].addcdiv_(first, spread, value=-share / corrections[0])
        if losses is not None:
            self.history.append([float(self.step), *losses.tolist()])
        self.whole = True

    @torch.no_grad()
    def keep(self, losses: Float[Tensor, " layer"], put_back: Bool[Tensor, " layer"]) -> None:
        """Keep the layers whose held-out KL is the best yet; the layers of `put_back` return to their best, with half
        the rate and moments that begin anew."""
        self.whole = False
        better = losses < self.best_losses
        for now, best in zip((self.mixing, self.shift), self.best):
            best[better], now[put_back] = now[better], best[put_back]
        for moment in (*self.first, *self.second):
            moment[put_back] = 0.0
        self.best_losses = torch.where(better, losses, self.best_losses)
        better, put_back = better.cpu(), put_back.cpu()
        self.best_steps[better] = self.step
        self.since[put_back] = self.step
        self.rates[put_back] *= 0.5
        self.held_out.append([float(self.step), *self.best_losses.tolist()])
        self.whole = True

    def to(self, device: torch.device) -> Checkpoint:
        """The same state on a device; what steers it stays where it is."""
        moved = {name: value.to(device) for name, value in self.tensors().items() if name not in STEERING}
        steering = {name: value for name, value in self.tensors().items() if name in STEERING}
        return Checkpoint.of(moved | steering, self.step, self.history, self.held_out)

    def tensors(self) -> dict[str, Tensor]:
        """Everything but the plain values, by name."""
        parts = {"centre": self.coordinates.centre, "whiten": self.coordinates.whiten, "scale": self.coordinates.scale}
        for name in PAIRS:
            parts[f"{name}.mixing"], parts[f"{name}.shift"] = getattr(self, name)
        return parts | {name: getattr(self, name) for name in ("mixing", "shift", *LOSSES, *STEERING)}

    @classmethod
    def of(
        cls, tensors: Mapping[str, Tensor], step: int, history: list[list[float]], held_out: list[list[float]]
    ) -> Checkpoint:
        """The state of these `tensors`."""
        coordinates = Coordinates(tensors["centre"], tensors["whiten"], tensors["scale"])
        pairs = {name: (tensors[f"{name}.mixing"], tensors[f"{name}.shift"]) for name in PAIRS}
        alone = {name: tensors[name] for name in ("mixing", "shift", *LOSSES, *STEERING)}
        return cls(coordinates=coordinates, step=step, history=history, held_out=held_out, **pairs, **alone)  # type: ignore[arg-type]


def write_checkpoint(directory: Path, state: Checkpoint, key: Mapping[str, Any]) -> Path:
    """Store the state, at once or not at all. Raises StorageError when the disk refuses."""
    plain = {"step": str(state.step), "key": json.dumps(key, sort_keys=True)}
    plain |= {"history": json.dumps(state.history), "held_out": json.dumps(state.held_out)}
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.tensors().items()}
    return atomic_write(directory / FILE, to_bytes(tensors, plain))


def read_checkpoint(directory: Path, key: Mapping[str, Any]) -> Checkpoint | None:
    """The state stored in a directory, None where there is none.

    Raises InputError where it belongs to other settings, texts or weights, naming them, and where it is damaged.
    """
    path = directory / FILE
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            plain, found = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        stored = json.loads(plain["key"])
        if different := [name for name in key if stored.get(name) != key[name]]:
            raise InputError(
                f"{path} is of another training (its {', '.join(different)} differ{'s' * (len(different) == 1)}); "
                "choose another directory, or delete it to begin again"
            )
        return Checkpoint.of(found, int(plain["step"]), json.loads(plain["history"]), json.loads(plain["held_out"]))
    except InputError:
        raise
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise InputError(f"the checkpoint {path} is damaged ({error}); delete it to begin again") from error
