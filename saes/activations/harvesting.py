"""`ModelStream`: activations of a model at work, harvested as training asks for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interp.hooks.sites import Site
from saes.activations.reading import Harvest, Source, harvest
from saes.activations.reservoir import Reservoir
from saes.activations.streams import State, Stream
from saes.activations.texts import Texts

__all__ = ["Harvest", "ModelStream", "harvest"]


class ModelStream(Stream):
    """Activations harvested as training asks for them, through a shuffle reservoir."""

    def __init__(
        self, model: Any, texts: Texts, sites: Sequence[Site | str], settings: Harvest | None = None, seed: int = 0
    ) -> None:
        """sites: where to read. Raises InputError when the texts are shorter than one context."""
        self.source = Source(model, texts, sites, settings, seed)
        self.settings, self.seed = self.source.settings, seed
        self.rows, self.excluded = self.source.rows, self.source.excluded
        self._generator = torch.Generator().manual_seed(seed)
        self._reservoir = Reservoir(self.settings.buffer, self._generator)
        self._fresh: dict[str, Tensor] = {}
        self.n_tokens = None
        self._top_up()
        self.widths = {name: values.shape[1] for name, values in self._reservoir.rows.items()}

    def next_batch(self, size: int) -> dict[str, Float[Tensor, "tokens d_in"]]:
        """`size` tokens from random places of the reservoir; fresh ones take their places."""
        taken = self._reservoir.exchange(self._take_fresh(size))
        return {name: values.float() for name, values in taken.items()}

    def sample(self, size: int) -> dict[str, Float[Tensor, "tokens d_in"]]:
        """Up to `size` tokens of the reservoir."""
        taken = self._reservoir.peek(size, torch.Generator().manual_seed(self.seed + 1))
        return {name: values.float() for name, values in taken.items()}

    def held_out(self, size: int) -> dict[str, Float[Tensor, "tokens d_in"]]:
        """Up to `size` tokens of held-out documents."""
        n_rows = -(-size // self.settings.context_size)
        parts = [part.activations for part in self.source.held_out_passes(n_rows)]
        if not parts:
            return {name: torch.zeros(0, width) for name, width in self.widths.items()}
        return {name: torch.cat([part[name] for part in parts])[:size].float() for name in parts[0]}

    def state(self) -> State:
        """The reservoir and what waits to enter it, the random state, and where the texts stand."""
        tensors = {f"reservoir.{name}": values for name, values in self._reservoir.rows.items()}
        tensors |= {f"fresh.{name}": values for name, values in self._fresh.items()}
        tensors["generator"] = self._generator.get_state()
        return tensors, {"rows": self.rows.state(), "n_filled": self._reservoir.n_filled}

    def restore(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Go back to a state."""
        for name, values in self._reservoir.rows.items():
            values.copy_(tensors[f"reservoir.{name}"])
        self._reservoir.n_filled = int(plain["n_filled"])
        device = next(iter(self._reservoir.rows.values())).device
        self._fresh = {name: tensors[f"fresh.{name}"].to(device) for name in self.widths}
        self._generator.set_state(tensors["generator"])
        self.rows.restore(plain["rows"])

    def describe(self) -> dict[str, Any]:
        """Model, texts and settings."""
        return {"kind": "model", **self.source.describe()}

    def _top_up(self) -> None:
        """Fill the reservoir before the first batch."""
        while self._reservoir.free:
            self._reservoir.fill(self._take_fresh(min(self._reservoir.free, 4096)))

    def _take_fresh(self, n: int) -> dict[str, Float[Tensor, "tokens d_in"]]:
        """The next `n` tokens in the order of the texts."""
        parts = [self._fresh] if self._fresh else []
        held = len(next(iter(self._fresh.values()))) if self._fresh else 0
        while held < n:
            acts = self.source.next_pass().activations
            parts.append(acts)
            held += len(next(iter(acts.values())))
        whole = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        self._fresh = {name: values[n:].clone() for name, values in whole.items()}
        return {name: values[:n] for name, values in whole.items()}
