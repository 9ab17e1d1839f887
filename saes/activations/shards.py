"""`open_shards`: activations on disk, memory-mapped, with the ids of their tokens.

>>> stream = saes.open_shards("activations/")            # every byte is compared with what was written
>>> saes.fit(saes.TopK(d_in=576, d_sae=9216, k=32), stream, n_tokens=4_000_000)
>>> stream.shards.read(range(5)).documents               # which documents the first five tokens are of
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from interp.errors import InputError, unknown
from interp.runs import progress
from saes.activations.reading import DTYPES, Pass
from saes.activations.shard_headers import IDS, File, read_header

PREFIX = "activations."


class Shards:
    """A finished directory of shards: one long list of tokens, in random order, with activations at every site.

    header: what they are of. widths: d_in by site. dtype: of the activations on disk. Nothing is read before it is
    asked for: the files are memory-mapped.
    """

    def __init__(self, path: str | Path, *, check: bool = True) -> None:
        """check: compare every byte with what was written; else only sizes. Raises InputError that names the shard when
        one is missing, torn or altered, and when the directory is unfinished or holds no shards."""
        self.directory = Path(path)
        header = read_header(self.directory)
        if header is None:
            raise InputError(f"{path} holds no shards: it has no header.json; make some with saes.write_shards")
        if not header.complete:
            wanted = header.plan["n_tokens"]
            raise InputError(
                f"{path} is unfinished ({header.n_tokens} tokens of {wanted or 'all'}); the saes.write_shards call "
                "that began it goes on from there"
            )
        self.header = header
        self.widths = header.widths
        self.dtype = DTYPES[header.plan["harvest"]["dtype"]]
        self._verify(content=check)
        self._mapped: dict[str, dict[str, Tensor]] = {}
        self._starts = torch.tensor([0, *(file.n_tokens for file in header.files)]).cumsum(0)

    def __len__(self) -> int:
        return self.header.n_tokens

    def read(self, rows: Iterable[int] | Int[Tensor, " n"], sites: Iterable[str] | None = None) -> Pass:
        """Tokens by number, 0 to len − 1: activations as stored at all or some sites, and ids."""
        index = torch.as_tensor(rows if isinstance(rows, Tensor) else list(rows), dtype=torch.long)
        if len(index) and not 0 <= int(index.min()) <= int(index.max()) < len(self):
            raise InputError(f"these shards hold tokens 0 to {len(self) - 1}")
        names = [f"{PREFIX}{site}" for site in (self.widths if sites is None else sites)]
        number = torch.bucketize(index, self._starts[1:], right=True)
        out = {name: self._empty(name, len(index)) for name in (*names, *IDS)}
        for shard in number.unique().tolist():
            here = number == shard
            places = index[here] - self._starts[shard]
            for name, mapped in self._open(self.header.files[shard], out).items():
                out[name][here] = mapped[places]
        return Pass({name.removeprefix(PREFIX): out[name] for name in names}, *(out[name].long() for name in IDS))

    def held_out(self, n: int) -> Pass:
        """Up to `n` tokens of held-out documents; none where none were stored."""
        names = [f"{PREFIX}{site}" for site in self.widths]
        file = self.header.held_out
        found = {name: self._empty(name, 0) for name in (*names, *IDS)} if file is None else self._open(file)
        return Pass(
            {name.removeprefix(PREFIX): found[name][:n] for name in names}, *(found[name][:n].long() for name in IDS)
        )

    def moments(self, site: str) -> tuple[Float[Tensor, " d_in"], Float[Tensor, "d_in d_in"]]:
        """E[x] and E[x xᵀ] over all tokens (not the held-out ones), float64, for `fit_normalisation`."""
        if site not in self.widths:
            raise unknown("site", site, list(self.widths))
        assert self.header.moments is not None
        found = self._open(self.header.moments)
        return found[f"mean.{site}"], found[f"second_moment.{site}"]

    def _empty(self, name: str, n: int) -> Tensor:
        if name in IDS:
            return torch.zeros(n, dtype=torch.int32)
        site = name.removeprefix(PREFIX)
        if site not in self.widths:
            raise unknown("site", site, list(self.widths))
        return torch.zeros(n, self.widths[site], dtype=self.dtype)

    def _open(self, file: File, wanted: Mapping[str, Any] | None = None) -> dict[str, Tensor]:
        """A file's arrays, mapped and not read."""
        if file.name not in self._mapped:
            try:
                self._mapped[file.name] = load_file(self.directory / file.name)
            except (SafetensorError, OSError) as error:
                raise InputError(f"{self.directory / file.name} cannot be read: {error}") from error
        mapped = self._mapped[file.name]
        return mapped if wanted is None else {name: mapped[name] for name in wanted}

    def _verify(self, *, content: bool) -> None:
        files = self.header.everything
        with progress(len(files), f"checking {self.directory.name}") as bar:
            for file in files:
                problem = file.problem(self.directory, content=content)
                if problem:
                    raise InputError(f"{problem}; delete the directory and write the shards again, or restore a copy")
                bar.advance(1)

    def __repr__(self) -> str:
        return f"Shards({str(self.directory)!r}, {len(self)} tokens at {', '.join(self.widths)})"
