"""`Header`: what a directory of shards says about itself. PROTOCOL.md beside this file is the layout's definition."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from interp.errors import InputError
from interp.runs import atomic_write

HEADER, LOCK = "header.json", ".lock"
FORMAT, VERSION = "activation-shards", 1
IDS = ("tokens", "documents", "places", "positions")
"""The arrays of numbers beside the activations, int32 [n]."""


@dataclass(frozen=True)
class File:
    """A file of the directory, by name, and what it has to be."""

    name: str
    n_tokens: int
    n_bytes: int
    sha256: str

    def problem(self, directory: Path, *, content: bool) -> str | None:
        """What is wrong with the file, None when it is whole. content: also compare the hash, which reads all of it."""
        path = directory / self.name
        if not path.is_file():
            return f"{path} is missing"
        found = path.stat().st_size
        if found != self.n_bytes:
            return f"{path} is torn: it has {found} bytes of {self.n_bytes}"
        if content and file_hash(path) != self.sha256:
            return f"{path} was altered: its content is not the one that was written"
        return None


@dataclass(frozen=True)
class Header:
    """What the shards are of, and which files there are.

    plan: what decides every byte: model, texts, sites with widths, harvest, seed, sizes. files: finished shards, in
    order. held_out, moments: files too. cursor: where in the texts the next shard begins. data_sha256: fingerprint of
    the ids of all tokens, in the order of the shards. complete: whether nothing is to come.
    """

    plan: Mapping[str, Any]
    files: tuple[File, ...] = ()
    held_out: File | None = None
    moments: File | None = None
    cursor: Mapping[str, Any] = field(default_factory=dict)
    data_sha256: str = ""
    complete: bool = False

    @property
    def widths(self) -> dict[str, int]:
        """d_in by site."""
        return dict(self.plan["sites"])

    @property
    def n_tokens(self) -> int:
        """Tokens in finished shards."""
        return sum(file.n_tokens for file in self.files)

    @property
    def content_sha256(self) -> str:
        """One hash for the content of all shards: changes when any of them does, or their order."""
        return chained(file.sha256 for file in (*self.files, *([self.held_out] if self.held_out else [])))

    @property
    def everything(self) -> list[File]:
        """All files."""
        return [*self.files, *(file for file in (self.held_out, self.moments) if file is not None)]

    def with_shard(self, file: File, ids_sha256: str, **changes: Any) -> Header:
        """The header after one more shard."""
        fingerprint = chained([self.data_sha256, ids_sha256])
        return replace(self, files=(*self.files, file), data_sha256=fingerprint, **changes)

    def write(self, directory: Path) -> None:
        """Put the header into the directory, at once."""
        told = {"format": FORMAT, "version": VERSION, **asdict(self), "content_sha256": self.content_sha256}
        told["header_sha256"] = _own_hash(told)
        atomic_write(directory / HEADER, json.dumps(told, indent=1) + "\n")


def _own_hash(told: Mapping[str, Any]) -> str:
    """Hash of everything a header says, whatever the file's spacing and order."""
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def read_header(directory: Path) -> Header | None:
    """The header of a directory, None where there is none. Raises InputError for one that is damaged or of another
    version."""
    path = directory / HEADER
    if not path.is_file():
        return None
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        if (told["format"], told["version"]) != (FORMAT, VERSION):
            raise InputError(f"{path} is of another format; this version reads {FORMAT} {VERSION}")
        if told.pop("header_sha256") != _own_hash(told):
            raise InputError(f"{path} was altered: it does not agree with its header_sha256; write the shards again")
        for name in ("format", "version", "content_sha256"):
            del told[name]
        files = tuple(File(**each) for each in told.pop("files"))
        held_out, moments = (File(**each) if each else None for each in (told.pop("held_out"), told.pop("moments")))
        return Header(files=files, held_out=held_out, moments=moments, **told)
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is damaged ({type(error).__name__}: {error}); write the shards again") from error


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def chained(hashes: Iterable[str]) -> str:
    """One hash of several."""
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()
