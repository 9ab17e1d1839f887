"""A tuned lens in training: all that decides the rest of it, in one safetensors file that is whole or not there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from interp.errors import InputError
from interp.lens.tuned_coordinates import Coordinates
from interp.runs import atomic_write

FILE = "checkpoint.safetensors"
BETAS, EPSILON = (0.9, 0.999), 1e-8


@dataclass(eq=False)
class Checkpoint:
    """mixing, shift: the translators in their coordinates. first, second: Adam's moments of both. history: rows of
    step and each layer's KL. whole: not in the middle of a step, where an interruption would leave half of one."""

    coordinates: Coordinates
    mixing: Float[Tensor, "layer d_model d_model"]
    shift: Float[Tensor, "layer d_model"]
    first: tuple[Tensor, Tensor]
    second: tuple[Tensor, Tensor]
    step: int = 0
    history: list[list[float]] = field(default_factory=list)
    whole: bool = True

    @classmethod
    def fresh(cls, coordinates: Coordinates, mixing: Tensor, shift: Tensor) -> Checkpoint:
        """Before the first step."""
        nothing = [(torch.zeros_like(mixing), torch.zeros_like(shift)) for _ in range(2)]
        return cls(coordinates, mixing, shift, nothing[0], nothing[1])

    @torch.no_grad()
    def adam(self, slopes: Sequence[tuple[Tensor, Tensor]], rate: float, losses: Tensor | None = None) -> None:
        """One step of Adam (Kingma & Ba 2015) on all layers; slopes: (mixing, shift) of each. losses: to remember."""
        self.whole = False
        self.step += 1
        corrections = [1 - beta**self.step for beta in BETAS]
        for which, values in enumerate((self.mixing, self.shift)):
            for layer, slope in enumerate(pair[which] for pair in slopes):
                first = self.first[which][layer].lerp_(slope, 1 - BETAS[0])
                second = self.second[which][layer].mul_(BETAS[1]).addcmul_(slope, slope, value=1 - BETAS[1])
                spread = (second / corrections[1]).sqrt_().add_(EPSILON)
                values[layer].addcdiv_(first, spread, value=-rate / corrections[0])
        if losses is not None:
            self.history.append([float(self.step), *losses.tolist()])
        self.whole = True

    def to(self, device: torch.device) -> Checkpoint:
        """The same state on a device."""

        def both(pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            return pair[0].to(device), pair[1].to(device)

        where = self.coordinates
        moved = Coordinates(where.centre.to(device), where.whiten.to(device), where.scale.to(device))
        mixing, shift = both((self.mixing, self.shift))
        return Checkpoint(moved, mixing, shift, both(self.first), both(self.second), self.step, self.history)

    def tensors(self) -> dict[str, Tensor]:
        """Everything but the plain values, by name."""
        parts = {"centre": self.coordinates.centre, "whiten": self.coordinates.whiten, "scale": self.coordinates.scale}
        for name, (mixing, shift) in (("first", self.first), ("second", self.second)):
            parts |= {f"{name}.mixing": mixing, f"{name}.shift": shift}
        return parts | {"mixing": self.mixing, "shift": self.shift}


def write_checkpoint(directory: Path, state: Checkpoint, key: Mapping[str, Any]) -> Path:
    """Store the state, at once or not at all. Raises StorageError when the disk refuses."""
    plain = {"step": str(state.step), "history": json.dumps(state.history), "key": json.dumps(key, sort_keys=True)}
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
        coordinates = Coordinates(found["centre"], found["whiten"], found["scale"])
        moments = [(found[f"{name}.mixing"], found[f"{name}.shift"]) for name in ("first", "second")]
        step, history = int(plain["step"]), json.loads(plain["history"])
        return Checkpoint(coordinates, found["mixing"], found["shift"], moments[0], moments[1], step, history)
    except InputError:
        raise
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
        raise InputError(f"the checkpoint {path} is damaged ({error}); delete it to begin again") from error
