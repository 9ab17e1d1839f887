"""`ShardStream`: batches for training out of shards, in an order that depends on the seed and the epoch alone.

Tokens were shuffled when they were written, so neighbours on disk have nothing to do with each other, and batches are
put together from short runs of them: drawn at random from all shards, and read as fast as long stretches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import InputError, unknown
from saes.activations.shards import Shards
from saes.activations.streams import State, Stream

CHUNK = 64
"""Tokens that are read as one piece, where there are enough of them."""


def open_shards(
    path: str | Path,
    sites: Sequence[str] | None = None,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    check: bool = True,
) -> ShardStream:
    """Activations that `write_shards` stored, to train on: `saes.fit(config, saes.open_shards(path), ...)`.

    sites: some of those that are stored (default: all). seed: decides the order. check: compare every byte with what
    was written, which reads everything once; else only sizes. Raises InputError that names the shard when one is
    missing, torn or altered, when the directory is unfinished, and for a site that is not stored.
    """
    return ShardStream(Shards(path, check=check), sites, seed=seed, device=device)


class ShardStream(Stream):
    """Shards as training wants them: a `Stream`, for `saes.fit` and for `train_named` in place of a `ModelStream`.

    shards: what is read. Where it stands is a few numbers (seed, epoch, cursor), so a checkpoint holds no activations,
    and restoring takes no time. Held-out tokens are those of held-out documents that were stored beside the shards.
    """

    def __init__(
        self,
        shards: Shards,
        sites: Sequence[str] | None = None,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        chunk: int = CHUNK,
    ) -> None:
        """chunk: tokens that stay together. Raises InputError for a site that is not stored."""
        self.shards, self.seed, self.device = shards, seed, torch.device(device)
        for site in sites or ():
            if site not in shards.widths:
                raise unknown("site", site, list(shards.widths))
        self.widths = {site: shards.widths[site] for site in (sites or shards.widths)}
        self._chunk = max(1, min(chunk, len(shards) // CHUNK))
        self.n_tokens = len(shards) // self._chunk * self._chunk
        self._epoch, self._cursor = 0, 0
        self._order, self._shift = self._shuffled(0)

    def next_batch(self, size: int) -> dict[str, Float[Tensor, "tokens d_in"]]:
        """The next `size` tokens; what an epoch leaves over at its end is dropped."""
        assert self.n_tokens is not None
        if size > self.n_tokens:
            raise InputError(
                f"a batch of {size} tokens is larger than the {self.n_tokens} in the shards; use a smaller batch_size"
            )
        if self._cursor + size > self.n_tokens:
            self._epoch, self._cursor = self._epoch + 1, 0
            self._order, self._shift = self._shuffled(self._epoch)
        rows = self.rows(self._cursor, size)
        self._cursor += size
        return self._take(rows)

    def rows(self, start: int, size: int) -> Int[Tensor, " size"]:
        """The numbers in `shards` of this epoch's tokens from `start` on."""
        wanted = torch.arange(start, start + size)
        rows = self._order[wanted // self._chunk] * self._chunk + wanted % self._chunk
        return (rows + self._shift) % len(self.shards)

    def sample(self, size: int) -> dict[str, Float[Tensor, "tokens d_in"]]:
        """Up to `size` random tokens, the same ones every time."""
        assert self.n_tokens is not None
        order, shift = self._shuffled(0xFFFE)
        wanted = torch.arange(min(size, self.n_tokens))
        rows = order[wanted // self._chunk] * self._chunk + wanted % self._chunk
        return self._take((rows + shift) % len(self.shards))

    def held_out(self, size: int) -> dict[str, Float[Tensor, "tokens d_in"]]:
        """Up to `size` tokens of held-out documents; none where none were stored."""
        acts = self.shards.held_out(size).activations
        return {site: acts[site].to(self.device, torch.float32) for site in self.widths}

    def state(self) -> State:
        """Epoch and place in it: the order follows from the seed."""
        place = {"seed": self.seed, "epoch": self._epoch, "cursor": self._cursor}
        return {}, place | {"content_sha256": self.shards.header.content_sha256}

    def restore(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Go back to an epoch and a place in it. Raises InputError for a place in other shards or another order."""
        if plain["content_sha256"] != self.shards.header.content_sha256:
            raise InputError(f"the shards in {self.shards.directory} are not those that this training began with")
        if plain["seed"] != self.seed:
            raise InputError(f"the stored order has seed {plain['seed']}, this stream {self.seed}")
        self._epoch, self._cursor = int(plain["epoch"]), int(plain["cursor"])
        self._order, self._shift = self._shuffled(self._epoch)

    def describe(self) -> dict[str, Any]:
        """What the shards are of, and the hash of their content."""
        header = self.shards.header
        found = {"content_sha256": header.content_sha256, "data_sha256": header.data_sha256}
        return {"kind": "shards", **header.plan, "sites": list(self.widths), **found, "order_seed": self.seed}

    @property
    def metadata(self) -> dict[str, Any]:
        """What dictionaries trained on these should carry with them, by SAELens's names."""
        plan, told = self.shards.header.plan, self.shards.header.plan["harvest"]
        return {
            "model_name": plan["model"],
            "model_weights_sha256": plan["weights_sha256"],
            "context_size": told["context_size"],
            "prepend_bos": told["prepend_bos"],
            "exclude_special_tokens": told["exclude_special"],
            "dataset_path": plan["texts"]["source"],
            "activations_sha256": self.shards.header.content_sha256,
        }

    def __repr__(self) -> str:
        where = f"{self.n_tokens} tokens at {', '.join(self.widths)}"
        return f"ShardStream({str(self.shards.directory)!r}, {where}, epoch {self._epoch})"

    def _take(self, rows: Int[Tensor, " tokens"]) -> dict[str, Float[Tensor, "tokens d_in"]]:
        acts = self.shards.read(rows, self.widths).activations
        return {site: values.to(self.device, torch.float32) for site, values in acts.items()}

    def _shuffled(self, number: int) -> tuple[Int[Tensor, " chunk"], int]:
        """An order of all chunks, and where the first of them begins: functions of the seed and the number alone.

        Another beginning in every epoch puts other tokens together, and leaves out others where chunks do not fill up.
        """
        assert self.n_tokens is not None
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + number) % 2**63)
        shift = int(torch.randint(len(self.shards), (1,), generator=generator))
        return torch.randperm(self.n_tokens // self._chunk, generator=generator), shift
