"""Documents packed into rows of equal length, without padding: every row is full of tokens that count.

Documents follow each other in a row, each opened by BOS where the model wants one; a token knows its document and its
place in it. Local texts are packed once and their rows shuffled anew in every epoch; data sets on the hub are packed as
they come.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from interp.errors import InputError
from saes.activations.texts import Texts


class Rows(NamedTuple):
    """tokens, documents (number of each token's document) and places (in it), all [row, pos]."""

    tokens: Int[Tensor, "row pos"]
    documents: Int[Tensor, "row pos"]
    places: Int[Tensor, "row pos"]


class RowSource(ABC):
    """Rows of tokens without end; where it stands can be stored and taken up again.

    epoch: how often the texts have been gone through before. n_rows: in one epoch, or None where nobody knows.
    """

    epoch: int
    n_rows: int | None

    @abstractmethod
    def next_rows(self, n: int) -> Rows:
        """The next rows, and after the last ones the first again."""

    @abstractmethod
    def rows_of_epoch(self, n: int) -> Rows:
        """The next rows, fewer where the texts end before, and none at their end."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Where it stands, as plain values."""

    @abstractmethod
    def restore(self, plain: Mapping[str, Any]) -> None:
        """Go back to a state."""


def pack(
    documents: Iterable[tuple[str, str]], tokenizer: Any, length: int, bos: int | None = None, first: int = 0
) -> Iterator[Rows]:
    """Rows of `length` tokens, one at a time; what is left of the last document is dropped.

    bos: put before every document, and again at the start of a row that continues one. first: number of the first
    document.
    """
    tokens: list[int] = []
    numbers: list[int] = []
    places: list[int] = []
    for number, (_, text) in enumerate(documents, first):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        for place, token in enumerate(ids):
            if bos is not None and (place == 0 or not tokens):
                tokens.append(bos)
                numbers.append(number)
                places.append(place)
            if len(tokens) < length:
                tokens.append(token)
                numbers.append(number)
                places.append(place)
            if len(tokens) == length:
                yield Rows(*(torch.tensor([values]) for values in (tokens, numbers, places)))
                tokens, numbers, places = [], [], []


class LocalRows(RowSource):
    """All rows of texts that fit into memory (8 bytes a token and array), in a new random order every epoch."""

    def __init__(self, texts: Texts, tokenizer: Any, length: int, bos: int | None, seed: int) -> None:
        """Tokenise and pack the training documents. Raises InputError when they do not fill one row."""
        packed = list(pack(texts.documents(), tokenizer, length, bos))
        if not packed:
            raise InputError(f"the texts of {texts.source} are shorter than one context of {length} tokens")
        self.rows = Rows(*(torch.cat(parts) for parts in zip(*packed)))
        self.n_rows = len(packed)
        self.seed = seed
        self.epoch, self._cursor = 0, 0
        self._order = self._permutation()

    def next_rows(self, n: int) -> Rows:
        """The next rows of this epoch's order, and then of the next one's."""
        taken = []
        while n:
            part = self._order[self._cursor : self._cursor + n]
            taken.append(part)
            self._cursor += len(part)
            n -= len(part)
            if self._cursor == len(self._order):
                self.epoch, self._cursor = self.epoch + 1, 0
                self._order = self._permutation()
        return self._take(torch.cat(taken))

    def rows_of_epoch(self, n: int) -> Rows:
        """The next rows of this epoch's order, as many as are left."""
        part = self._order[self._cursor : self._cursor + n]
        self._cursor += len(part)
        return self._take(part)

    def state(self) -> dict[str, Any]:
        """Epoch and place in its order."""
        return {"epoch": self.epoch, "cursor": self._cursor, "seed": self.seed}

    def restore(self, plain: Mapping[str, Any]) -> None:
        """Go back to an epoch and a place in its order."""
        self.epoch, self._cursor, self.seed = (int(plain[name]) for name in ("epoch", "cursor", "seed"))
        self._order = self._permutation()

    def _take(self, chosen: Int[Tensor, " n"]) -> Rows:
        return Rows(*(values[chosen] for values in self.rows))

    def _permutation(self) -> Int[Tensor, " row"]:
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + self.epoch) % 2**63)
        return torch.randperm(len(self.rows.tokens), generator=generator)


class StreamedRows(RowSource):
    """Rows packed as documents come in; the shuffle reservoir behind it has to do the mixing."""

    n_rows = None

    def __init__(self, texts: Texts, tokenizer: Any, length: int, bos: int | None) -> None:
        """Nothing is read before the first row is asked for."""
        self.texts, self.tokenizer, self.length, self.bos = texts, tokenizer, length, bos
        self.epoch, self._given = 0, 0
        self._rows = self._packed()

    def next_rows(self, n: int) -> Rows:
        """The next rows; from the beginning again when the documents end."""
        taken: list[Rows] = []
        while len(taken) < n:
            row = next(self._rows, None)
            if row is None:
                if not self._given:
                    raise InputError(f"{self.texts.source} is shorter than one context of {self.length} tokens")
                self.epoch, self._given = self.epoch + 1, 0
                self._rows = self._packed()
                continue
            taken.append(row)
            self._given += 1
        return Rows(*(torch.cat(parts) for parts in zip(*taken)))

    def rows_of_epoch(self, n: int) -> Rows:
        """The next rows, as many as the documents still hold."""
        taken = list(itertools.islice(self._rows, n))
        self._given += len(taken)
        if not taken:
            return Rows(*(torch.zeros(0, self.length, dtype=torch.long) for _ in Rows._fields))
        return Rows(*(torch.cat(parts) for parts in zip(*taken)))

    def state(self) -> dict[str, Any]:
        """Epoch and rows given in it."""
        return {"epoch": self.epoch, "given": self._given}

    def restore(self, plain: Mapping[str, Any]) -> None:
        """Go back to a state: the rows given before are packed again and passed over."""
        self.epoch, given = int(plain["epoch"]), int(plain["given"])
        self._given, self._rows = 0, self._packed()
        if given:
            self.next_rows(given)

    def _packed(self) -> Iterator[Rows]:
        return pack(self.texts.documents(), self.tokenizer, self.length, self.bos)
