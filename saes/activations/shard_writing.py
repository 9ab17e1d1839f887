"""`write_shards`: activations harvested to disk, shuffled on the way.

A shard is gathered in memory, every token at a random place of it, and written as one file; then the header, which
alone says what counts, names it. So at every moment the directory holds whole shards and a header that fits them, and
what follows is decided by the header: a writer that was interrupted, in whatever way, goes on to the same bytes.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from interp.errors import InputError, StorageError, storage_error
from interp.hooks.sites import Site
from interp.runs import lock, progress
from saes.activations.reading import DTYPES, Harvest, Pass, Source, joined, nothing_held_out
from saes.activations.shard_headers import IDS, LOCK, File, Header, file_hash, read_header
from saes.activations.shards import PREFIX, Shards
from saes.activations.texts import Texts

_LOG = logging.getLogger("saes")


def write_shards(
    path: str | Path,
    model: Any,
    texts: Texts | str,
    sites: Sequence[Site | str],
    *,
    n_tokens: int | None = None,
    harvest: Harvest | None = None,
    shard_tokens: int = 131_072,
    held_out_tokens: int = 16_384,
    seed: int = 0,
) -> Shards:
    """Harvest a model's activations at some sites into a directory, in the layout of `saes/activations/PROTOCOL.md`.

    texts: which documents; a text stands for the source of `Texts`, as in YAML.
    n_tokens: how many at most (default: the texts once through, which is also where it ends when they hold fewer).
    shard_tokens: tokens of a shard, which is what is held in memory and mixed. held_out_tokens: how many of held-out
    documents to store beside them; where there are fewer, or none, a warning says so. Interrupted in whatever way, the
    same call goes on after the last whole shard and ends with the same bytes; finished, it returns what is there.
    Raises InputError when the directory was begun with other settings, another process is writing it, or the disk is
    too small for it; StorageError when the disk refuses.
    """
    if shard_tokens < 1 or held_out_tokens < 0 or (n_tokens is not None and n_tokens < 1):
        raise InputError("n_tokens and shard_tokens are at least 1, held_out_tokens at least 0")
    directory = Path(path)
    source = Source(model, Texts(texts) if isinstance(texts, str) else texts, sites, harvest, seed)
    with lock(directory / LOCK, f"{path} is being written by another process", wait=False):
        writer = _Writer(directory, source, n_tokens, shard_tokens, held_out_tokens)
        if not writer.header.complete:
            writer.run()
    return Shards(directory, check=False)


@dataclass
class _Buffer:
    """A shard on its way: arrays by name, and the place of every token to come."""

    arrays: dict[str, Tensor]
    places: Tensor
    filled: int = 0

    def put(self, part: Pass, start: int, n: int) -> None:
        where = self.places[self.filled : self.filled + n]
        for name, values in _arrays(part).items():
            self.arrays[name][where] = values[start : start + n].to(self.arrays[name])
        self.filled += n

    def finished(self) -> dict[str, Tensor]:
        """The arrays, without the places that nothing came for."""
        if self.filled == len(self.places):
            return self.arrays
        kept = self.places[: self.filled].sort().values
        return {name: values[kept] for name, values in self.arrays.items()}


class _Writer:
    """Writes one directory. `header` is what stands on disk; `_pending` the pass in which the next shard begins."""

    def __init__(
        self, directory: Path, source: Source, n_tokens: int | None, shard_tokens: int, held_out_tokens: int
    ) -> None:
        self.directory, self.source = directory, source
        self.n_tokens, self.shard_tokens, self.held_out_tokens = n_tokens, shard_tokens, held_out_tokens
        self.widths = source.widths
        self.dtype = DTYPES[source.settings.dtype]
        self.header = self._begin()
        self._pending: Pass | None = None
        self._offset = 0
        self._before: dict[str, Any] = {}

    def run(self) -> None:
        """Write everything that is missing."""
        self._check_space()
        self._restore()
        try:
            if self.header.held_out is None and self.held_out_tokens:
                self._write_held_out()
            with progress(self.n_tokens or self._estimate(), f"writing {self.directory.name}") as bar:
                bar.resume(self.header.n_tokens)
                more = True
                while more and (self.n_tokens is None or self.header.n_tokens < self.n_tokens):
                    before = self.header.n_tokens
                    more = self._write_shard()
                    bar.advance(self.header.n_tokens - before)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(
                f"stopped with {self.header.n_tokens} tokens in whole shards; the same call goes on in {self.directory}"
            ) from None
        self._finish()

    def _begin(self) -> Header:
        """The header on disk when it is of the same plan, else a fresh one."""
        plan = {
            **self.source.describe(),
            "sites": self.widths,
            "n_tokens": self.n_tokens,
            "shard_tokens": self.shard_tokens,
            "held_out_tokens": self.held_out_tokens,
        }
        found = read_header(self.directory)
        if found is None:
            return Header(plan=plan)
        for name, value in plan.items():
            # A model's name may be the directory it lay in; its weights' hash says which it is.
            if name != "model" and found.plan.get(name) != value:
                raise InputError(
                    f"{self.directory} was begun with {name} = {found.plan.get(name)}, not {value}; choose another "
                    "directory, or delete this one"
                )
        return found

    def _check_space(self) -> None:
        per_token = sum(self.widths.values()) * self.dtype.itemsize + 4 * len(IDS)
        needed = per_token * ((self.n_tokens or self._estimate()) - self.header.n_tokens)
        free = shutil.disk_usage(self.directory).free
        if needed > free:
            raise InputError(
                f"the shards need {needed / 1e9:.1f} GB and {self.directory} has {free / 1e9:.1f} GB free; store fewer "
                "tokens or sites, dtype bfloat16, or choose another disk"
            )

    def _estimate(self) -> int:
        """Tokens of the texts, rounded up; what is left out of them is not known before. 0 where nobody knows."""
        return (self.source.rows.n_rows or 0) * self.source.settings.context_size

    def _restore(self) -> None:
        """Go to where the next shard begins, which may be within a pass."""
        if self.header.cursor:
            self.source.rows.restore(self.header.cursor["rows"])
            if self.header.cursor["skip"]:
                self._next_pass()
                self._offset = int(self.header.cursor["skip"])

    def _next_pass(self) -> bool:
        self._before = self.source.rows.state()
        self._pending, self._offset = self.source.next_pass_of_epoch(), 0
        return self._pending is not None

    def _write_shard(self) -> bool:
        """One more shard; returns whether there is anything after it."""
        left = self.shard_tokens if self.n_tokens is None else self.n_tokens - self.header.n_tokens
        buffer, more = self._buffer(min(self.shard_tokens, left)), True
        while more and buffer.filled < len(buffer.places):
            more = self._pending is not None or self._next_pass()
            if self._pending is None:
                break
            n = min(len(self._pending.tokens) - self._offset, len(buffer.places) - buffer.filled)
            buffer.put(self._pending, self._offset, n)
            self._offset += n
            if self._offset == len(self._pending.tokens):
                self._pending, self._offset = None, 0
        if buffer.filled:
            self._keep(buffer.finished())
        return more

    def _buffer(self, size: int) -> _Buffer:
        seed = (self.source.seed * 1_000_003 + len(self.header.files)) % 2**63
        places = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
        arrays = {f"{PREFIX}{site}": torch.zeros(size, width, dtype=self.dtype) for site, width in self.widths.items()}
        return _Buffer(arrays | {name: torch.zeros(size, dtype=torch.int32) for name in IDS}, places)

    def _keep(self, arrays: dict[str, Tensor]) -> None:
        """Write a shard and the moments with it, then the header that names them."""
        number = len(self.header.files)
        file = self._write(f"{number:05d}.safetensors", arrays, len(arrays[IDS[0]]))
        old = self.header.moments
        total = self.header.n_tokens + file.n_tokens
        moments = self._write(f"moments-{number:05d}.safetensors", self._moments(arrays), total)
        rows = self.source.rows.state() if self._pending is None else self._before
        cursor = {"rows": rows, "skip": self._offset}
        self.header = self.header.with_shard(file, _ids_hash(arrays), moments=moments, cursor=cursor)
        self.header.write(self.directory)
        if old is not None:
            (self.directory / old.name).unlink(missing_ok=True)

    def _moments(self, arrays: dict[str, Tensor]) -> dict[str, Tensor]:
        """E[x] and E[x xᵀ] by site, over the shards so far and this one."""
        before, n = self.header.n_tokens, len(arrays[IDS[0]])
        old = load_file(self.directory / self.header.moments.name) if self.header.moments else {}
        made = {}
        for site in self.widths:
            x = arrays[f"{PREFIX}{site}"]
            sums = x.sum(0, dtype=torch.float64)
            outer = torch.zeros(x.shape[1], x.shape[1], dtype=torch.float64)
            for part in x.split(4096):
                outer += part.float().T @ part.float()
            for name, value in ((f"mean.{site}", sums), (f"second_moment.{site}", outer)):
                made[name] = (old[name] * before + value) / (before + n) if old else value / n
        return made

    def _write_held_out(self) -> None:
        n_rows = -(-self.held_out_tokens // (self.source.settings.context_size - 1)) + 1
        passes = list(self.source.held_out_passes(n_rows))
        if not passes:
            _LOG.warning("no held-out tokens are stored: %s", nothing_held_out(self.source.texts, self.source.settings))
            return
        arrays = {name: values[: self.held_out_tokens].cpu() for name, values in _arrays(joined(passes)).items()}
        file = self._write("held-out.safetensors", arrays, len(arrays[IDS[0]]))
        self.header = replace(self.header, held_out=file)
        self.header.write(self.directory)

    def _write(self, name: str, arrays: dict[str, Tensor], n_tokens: int) -> File:
        """A file that is on the disk when this returns. Nothing reads it before the header names it."""
        path = self.directory / name
        try:
            save_file({key: values.contiguous() for key, values in arrays.items()}, path)
            with path.open("rb") as file:
                os.fsync(file.fileno())
        except SafetensorError as error:  # the library's wrapping of whatever the disk said
            raise StorageError(f"cannot write {path}: {error}") from error
        except OSError as error:
            raise storage_error(error, path) from error
        return File(name, n_tokens, path.stat().st_size, file_hash(path))

    def _finish(self) -> None:
        if not self.header.files:
            raise InputError("no token is left to store: all are in first place, special, or outliers")
        if self.n_tokens and self.header.n_tokens < self.n_tokens:
            _LOG.warning("the texts hold only %d tokens of the %d asked for", self.header.n_tokens, self.n_tokens)
        named = {file.name for file in self.header.everything}
        for path in self.directory.glob("*.safetensors"):
            if path.name not in named:  # what a killed writer left
                path.unlink()
        self.header = replace(self.header, complete=True)
        self.header.write(self.directory)


def _arrays(part: Pass) -> dict[str, Tensor]:
    named = {f"{PREFIX}{site}": values for site, values in part.activations.items()}
    return named | {name: getattr(part, name).int() for name in IDS}


def _ids_hash(arrays: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in IDS:
        digest.update(arrays[name].numpy().tobytes())
    return digest.hexdigest()
