"""Documents to harvest from: files of one's own, the texts that come with the house, or a data set on the hub."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interp.errors import InputError
from interp.tasks.english_texts import english_documents

HOUSE = "sotu"
"""The presidents' messages: see `interp.tasks.english_documents`."""
TABLES = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".csv": "csv"}
PIECE = 2000
"""Characters of a single .txt file that make up a document, at least: it ends where a paragraph, else a line, ends."""
_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class Texts:
    """Where documents come from."""

    source: str = HOUSE
    """sotu (speeches that come with the house), a .txt file, a folder of them, a .jsonl, .json, .csv or .parquet file,
    or a data set on the Hugging Face hub as owner/name. In a folder a file is a document; a single .txt file is cut
    into documents of 2000 characters or a little more, between paragraphs where it can be."""
    column: str = "text"
    """The column with the text, in tables and data sets."""
    split: str = "train"
    """The split of a data set on the hub."""
    subset: str | None = None
    """Its configuration, where it has several."""
    held_out: float = 0.05
    """Share of the documents that are never trained on, decided by a hash of each document's id (pieces of a single
    .txt file: spread evenly over it). 0: none, and then nothing can be measured on what was not trained on."""

    def __post_init__(self) -> None:
        if not 0 <= self.held_out < 1:
            raise InputError(f"held_out is a share of the documents, from 0 to below 1, not {self.held_out}")
        if self.on_hub and _is_path(self.source):
            raise InputError(
                f"there are no texts at {self.source}; give a file or a folder that exists, or a data set on the hub "
                "as owner/name"
            )

    @property
    def on_hub(self) -> bool:
        """Whether the documents are streamed from the hub rather than read here."""
        return self.source != HOUSE and not Path(self.source).expanduser().exists()

    @property
    def is_one_file(self) -> bool:
        """Whether the source is a single file of plain text, which is cut into documents."""
        path = Path(self.source).expanduser()
        return self.source != HOUSE and path.is_file() and path.suffix not in TABLES

    def documents(self, *, held_out: bool = False, skip: int = 0) -> Iterator[tuple[str, str]]:
        """(id, text) of every document of one side of the split, in order, without the first `skip` of them.

        Raises InputError when there are none or they cannot be read.
        """
        wanted = ((name, text) for name, text in self._all() if self.is_held_out(name) == held_out)
        return itertools.islice(wanted, skip, None)

    def is_held_out(self, name: str) -> bool:
        """Which side of the split a document is on; the same on every machine and in every epoch. What a share holds
        out, a larger one does too."""
        if self.is_one_file:
            # Multiples of the golden ratio fall evenly: a small number of pieces is not left without one by chance.
            return (int(name.rpartition("#")[2]) + 1) * _GOLDEN % 1 < self.held_out
        number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
        return number < self.held_out * 2**64

    def describe(self) -> dict[str, Any]:
        """Plain values that say which documents these are; for files, with the hash of their content."""
        told: dict[str, Any] = {"source": self.source, "column": self.column, "held_out": self.held_out}
        path = Path(self.source).expanduser()
        if self.on_hub:
            return told | {"split": self.split, "subset": self.subset}
        if self.is_one_file:
            told["piece"] = PIECE
        return told if self.source == HOUSE else told | {"source": path.name, "sha256": _hash(path)}

    def _all(self) -> Iterator[tuple[str, str]]:
        path = Path(self.source).expanduser()
        if self.source == HOUSE:
            return english_documents()
        if self.on_hub:
            return self._hub()
        if path.suffix in TABLES:
            return self._table(path)
        return self._pieces(path) if self.is_one_file else english_documents(path)

    def _pieces(self, path: Path) -> Iterator[tuple[str, str]]:
        for name, text in english_documents(path):
            for number, piece in enumerate(pieces(text)):
                yield f"{name}#{number}", piece

    def _table(self, path: Path) -> Iterator[tuple[str, str]]:
        if path.suffix == ".jsonl":
            return self._lines(path)
        from datasets import load_dataset  # slow to import, and only wanted here

        rows = load_dataset(TABLES[path.suffix], data_files=str(path), split="train", streaming=True)
        return self._rows(rows, path.name)

    def _lines(self, path: Path) -> Iterator[tuple[str, str]]:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file):
                try:
                    yield str(number), str(json.loads(line)[self.column])
                except (ValueError, KeyError, TypeError) as error:
                    raise InputError(
                        f"line {number + 1} of {path} is no object with the key {self.column!r}"
                    ) from error

    def _hub(self) -> Iterator[tuple[str, str]]:
        from datasets import load_dataset

        try:
            rows = load_dataset(self.source, self.subset, split=self.split, streaming=True)
        except Exception as error:  # the library's errors have no common class
            raise InputError(
                f"{self.source} is neither a file, a folder, nor a data set that the hub gives out "
                f"({type(error).__name__}); check the name and the network, or use a local file"
            ) from error
        return self._rows(rows, self.source)

    def _rows(self, rows: Any, name: str) -> Iterator[tuple[str, str]]:
        for number, row in enumerate(rows):
            if self.column not in row:
                raise InputError(f"{name} has no column {self.column!r}; its columns are {', '.join(row)}")
            yield str(number), str(row[self.column])


def pieces(text: str, size: int = PIECE) -> Iterator[str]:
    """A text cut into pieces of `size` characters at least, which put together are the text again.

    A piece ends at the first blank line after that; where there is none within as many characters again, at the first
    end of a line, and else between two words. What is left at the end is a piece, or part of the last.
    """
    start = 0
    while start < len(text):
        ends = (re.compile(gap).search(text, start + size, start + 2 * size) for gap in (r"\n\s*\n", r"\n", r"\s"))
        found = next((end for end in ends if end), None)
        stop = found.end() if found else start + 2 * size
        if len(text) - start <= 2 * size and not re.search(r"\n\s*\n", text[start + size :]):
            stop = len(text)
        yield text[start:stop]
        start = stop


def _is_path(source: str) -> bool:
    """Whether a name can only mean a file or a folder: data sets on the hub are called owner/name."""
    path = Path(source)
    return path.suffix in (".txt", *TABLES) or source.startswith((".", "/", "~")) or source.count("/") > 1


def _hash(path: Path) -> str:
    files = sorted(path.rglob("*.txt")) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()
