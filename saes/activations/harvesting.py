"""`harvest` and `ModelStream`: activations of a model at work, from one forward that stops after the last site."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import InputError
from interp.hooks.capturing import capture
from interp.hooks.partial import embedding_device
from interp.hooks.sites import Site, as_site
from interp.models import identity
from interp.models.tokens import bos_token, tokenizer_of
from saes.activations.keeping import ordinary
from saes.activations.reservoir import Reservoir
from saes.activations.rows import LocalRows, RowSource, StreamedRows, pack
from saes.activations.streams import State, Stream
from saes.activations.texts import Texts

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Harvest:
    """How a model is read."""

    context_size: int = 256
    """Tokens of a prompt."""
    prepend_bos: bool = False
    """Open every prompt and every document with BOS."""
    exclude_special: bool = True
    """Leave out special tokens (first positions and outliers of norm are always left out)."""
    prompts_per_pass: int = 8
    """Prompts in one forward."""
    buffer: int = 65_536
    """Tokens in the shuffle reservoir."""
    dtype: str = "float32"
    """float32 or bfloat16, for the reservoir and for shards."""

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise InputError(f"dtype is float32 or bfloat16, not {self.dtype!r}")
        if self.context_size < 2 or self.prompts_per_pass < 1:
            raise InputError("context_size is at least 2 tokens, prompts_per_pass at least 1 prompt")


@torch.no_grad()
def harvest(
    model: Any, tokens: Int[Tensor, "row pos"], sites: Sequence[Site], excluded: Iterable[int] = ()
) -> tuple[dict[str, Float[Tensor, "tokens _"]], Int[Tensor, "tokens 2"]]:
    """Activations of the tokens that count at several sites, and each one's (row, position).

    A token counts when it does at every site, so that all sites hold the same tokens. Raises InputError for activations
    that are NaN or infinite.
    """
    acts = capture(model, tokens, sites)
    kept = torch.ones(tokens.shape, dtype=torch.bool, device=acts[sites[0]].device)
    for site in sites:
        values = acts[site]
        if not torch.isfinite(values).all():
            raise InputError(f"activations at {site} are NaN or infinite; try dtype float32 for the model")
        kept &= ordinary(values, tokens.to(values.device), excluded=set(excluded))
    return {str(site): acts[site][kept] for site in sites}, kept.nonzero().cpu()


class ModelStream(Stream):
    """Activations harvested as training asks for them, through a shuffle reservoir."""

    def __init__(
        self, model: Any, texts: Texts, sites: Sequence[Site | str], settings: Harvest | None = None, seed: int = 0
    ) -> None:
        """sites: where to read. Raises InputError when the texts are shorter than one context."""
        self.model, self.texts, self.settings, self.seed = model, texts, settings or Harvest(), seed
        self.sites = [as_site(site) for site in sites]
        tokenizer = tokenizer_of(model)
        bos = bos_token(model) if self.settings.prepend_bos else None
        self.excluded = set(tokenizer.all_special_ids) if self.settings.exclude_special else set()
        length = self.settings.context_size
        self.rows: RowSource = (
            StreamedRows(texts, tokenizer, length, bos)
            if texts.on_hub
            else LocalRows(texts, tokenizer, length, bos, seed)
        )
        self._packing = (tokenizer, length, bos)
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
        parts: list[dict[str, Tensor]] = []
        n_rows = -(-size // self.settings.context_size)
        for tokens in self.held_out_tokens(n_rows).split(self.settings.prompts_per_pass):
            acts, _ = harvest(self.model, tokens, self.sites, self.excluded)
            parts.append(acts)
        if not parts:
            return {name: torch.zeros(0, width) for name, width in self.widths.items()}
        return {name: torch.cat([part[name] for part in parts])[:size].float() for name in parts[0]}

    def held_out_tokens(self, n: int) -> Int[Tensor, "row pos"]:
        """Up to `n` prompts of held-out documents, spread over them; none when nothing is held out."""
        tokenizer, length, bos = self._packing
        rows = [row.tokens for row in pack(self.texts.documents(held_out=True), tokenizer, length, bos)]
        if not rows:
            return torch.zeros(0, length, dtype=torch.long)
        chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:n].sort().values
        return torch.cat([rows[i] for i in chosen.tolist()]).to(embedding_device(self.model))

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
        who = identity(self.model)
        return {
            "kind": "model",
            "model": who["id"],
            "weights_sha256": who["weights_sha256"],
            "texts": self.texts.describe(),
            "sites": [str(site) for site in self.sites],
            "harvest": vars(self.settings),
            "seed": self.seed,
        }

    def _top_up(self) -> None:
        """Fill the reservoir before the first batch."""
        while self._reservoir.free:
            self._reservoir.fill(self._take_fresh(min(self._reservoir.free, 4096)))

    def _take_fresh(self, n: int) -> dict[str, Float[Tensor, "tokens d_in"]]:
        """The next `n` tokens in the order of the texts."""
        parts = [self._fresh] if self._fresh else []
        held = len(next(iter(self._fresh.values()))) if self._fresh else 0
        while held < n:
            rows = self.rows.next_rows(self.settings.prompts_per_pass)
            acts, _ = harvest(self.model, rows.tokens.to(embedding_device(self.model)), self.sites, self.excluded)
            kept = {name: values.to(DTYPES[self.settings.dtype]) for name, values in acts.items()}
            parts.append(kept)
            held += len(next(iter(kept.values())))
        whole = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        self._fresh = {name: values[n:].clone() for name, values in whole.items()}
        return {name: values[:n] for name, values in whole.items()}
