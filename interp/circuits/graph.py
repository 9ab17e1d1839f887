"""The graph of a model: who writes into the residual stream, and who reads it.

Writers are the embedding (tokens and positions together), every attention head and every MLP; readers are the queries,
keys and values of every head, the input of every MLP, and the logits. An edge leads from a writer to a reader that
comes after it. Under grouped-query attention keys and values belong to groups of heads. Names:

    writers   embed, a3.7, m3
    readers   a3.7.q, a3.7.k, a3.7.v (grouped: a3.kv2.k, a3.kv2.v), m3, logits

Writers and readers are in the order of computation (a layer's readers: all q, all k, all v, the MLP), so that every
reader sees the first so many writers, and an edge set is a matrix [writers, readers]. In a graph over token positions
every node is there once a role of the prompts ("a3.7@S2"), and edges stay at their position: tokens exchange
information only inside attention heads. After Wang et al. 2022; Conmy et al. 2023 (ACDC), section 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import accumulate
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from interp.circuits.architecture import architecture
from interp.circuits.blocks import blocks_of
from interp.errors import InputError, unknown
from interp.models import identity

LETTERS = ("q", "k", "v", "m")
"""What a block reads by: queries, keys, values, and the MLP."""


@dataclass(frozen=True)
class Graph:
    """Writers, readers and the edges that exist between them; see the module's text for names and order.

    parallel: whether a block's MLP reads what its attention reads (and not its attention). model: "id" and
    "weights_sha256" of the model. positions: roles of a graph over token positions, or None.
    """

    n_layers: int
    n_heads: int
    n_key_value_heads: int
    has_mlp: bool = True
    parallel: bool = False
    positions: tuple[str, ...] | None = None
    model: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @classmethod
    def of(cls, model: Any, positions: Sequence[str] | None = None) -> Graph:
        """The graph of a model; positions: role names (`task.roles`) for a graph over token positions.

        Raises InputError for models that have no such graph (see `architecture` and `blocks`).
        """
        roles = _roles(positions)
        known = identity(model)
        names = {key: known[key] for key in ("id", "weights_sha256")}
        made = cls(**architecture(model), positions=roles, model=names)
        blocks_of(model)  # refuses what is not made of these parts
        return made

    def with_positions(self, positions: Sequence[str] | None) -> Graph:
        """The same graph over other token positions (None: all together)."""
        return replace(self, positions=_roles(positions))

    @cached_property
    def places(self) -> int:
        """How often each node is there: once, or once a role."""
        return len(self.positions) if self.positions else 1

    @cached_property
    def writers(self) -> tuple[str, ...]:
        """Names of the writers, in order."""
        names = ["embed"]
        for layer in range(self.n_layers):
            names += [f"a{layer}.{head}" for head in range(self.n_heads)]
            names += [f"m{layer}"] if self.has_mlp else []
        return self._placed(names)

    @cached_property
    def readers(self) -> tuple[str, ...]:
        """Names of the readers, in order."""
        group = "" if self.n_key_value_heads == self.n_heads else "kv"
        names = []
        for layer in range(self.n_layers):
            names += [f"a{layer}.{head}.q" for head in range(self.n_heads)]
            names += [f"a{layer}.{group}{head}.{kv}" for kv in "kv" for head in range(self.n_key_value_heads)]
            names += [f"m{layer}"] if self.has_mlp else []
        return self._placed([*names, "logits"])

    @cached_property
    def writer_index(self) -> dict[str, int]:
        """Name of a writer -> its row."""
        return {name: index for index, name in enumerate(self.writers)}

    @cached_property
    def reader_index(self) -> dict[str, int]:
        """Name of a reader -> its column."""
        return {name: index for index, name in enumerate(self.readers)}

    @cached_property
    def writer_layer(self) -> Int[Tensor, " writers"]:
        """The block of each writer; -1 for the embedding."""
        layers = torch.arange(self.n_layers).repeat_interleave(self._writers_a_layer)
        return torch.cat([torch.tensor([-1]), layers]).repeat_interleave(self.places)

    @cached_property
    def reader_layer(self) -> Int[Tensor, " readers"]:
        """The block of each reader; `n_layers` for the logits."""
        layers = torch.arange(self.n_layers).repeat_interleave(self._readers_a_layer)
        return torch.cat([layers, torch.tensor([self.n_layers])]).repeat_interleave(self.places)

    @cached_property
    def exists(self) -> Bool[Tensor, "writers readers"]:
        """Which pairs are edges: the writer comes before the reader, at the same position."""
        counts = [self.n_writers_before(layer, letter) for layer in range(self.n_layers) for letter in self.letters]
        sizes = [self._n_readers(letter) for letter in self.letters] * self.n_layers
        seen = torch.tensor([*counts, 1 + self.n_layers * self._writers_a_layer])
        seen = seen.repeat_interleave(torch.tensor([*sizes, 1]))
        edges = torch.arange(int(seen[-1]))[:, None] < seen
        here = torch.eye(self.places, dtype=torch.bool)
        return (edges[:, None, :, None] & here[None, :, None, :]).flatten(2).flatten(0, 1)

    @cached_property
    def feeds(self) -> Bool[Tensor, "readers writers"]:
        """Which writer computes from which reader: a3.7 from a3.7.q and the keys and values of its group, m3 from m3.

        Over token positions a head's keys and values at one role may feed the head at any role, since the order of
        roles differs between prompts.
        """
        per_group = self.n_heads // self.n_key_value_heads
        computed = torch.zeros(len(self.readers), len(self.writers), dtype=torch.bool)
        here, anywhere = torch.eye(self.places, dtype=torch.bool), torch.ones(self.places, self.places).bool()
        for layer in range(self.n_layers):
            for letter in self.letters:
                rows, columns = self.reader_slice(layer, letter), self.writer_slice(layer, letter)
                links = torch.ones(1, 1).bool() if letter == "m" else torch.eye(self.n_heads).bool()
                if letter in "kv":
                    links = torch.eye(self.n_key_value_heads).bool().repeat_interleave(per_group, dim=1)
                places = anywhere if letter in "kv" else here
                block = (links[:, None, :, None] & places[None, :, None, :]).flatten(2).flatten(0, 1)
                computed[rows, columns] = block
        return computed

    @cached_property
    def n_edges(self) -> int:
        """How many edges there are."""
        return int(self.exists.sum())

    @cached_property
    def letters(self) -> tuple[str, ...]:
        """What each block reads by: q, k, v, and m where there are MLPs."""
        return LETTERS if self.has_mlp else LETTERS[:3]

    def n_writers_before(self, layer: int, letter: str) -> int:
        """How many writers (of one position) a block's q, k, v or m sees; the first that many of them."""
        before = 1 + layer * self._writers_a_layer
        return before + self.n_heads if letter == "m" and not self.parallel else before

    def writer_slice(self, layer: int, letter: str = "a") -> slice:
        """Rows of a block's MLP (letter "m") or of its heads (any other), all positions."""
        first = 1 + layer * self._writers_a_layer
        first, size = (first + self.n_heads, 1) if letter == "m" else (first, self.n_heads)
        return slice(first * self.places, (first + size) * self.places)

    def reader_slice(self, layer: int, letter: str) -> slice:
        """Columns of a block's q, k, v or m, all positions; layer `n_layers` gives the logits."""
        first, stop = (0, 1) if layer == self.n_layers else self._readers_within[letter]
        before = layer * self._readers_a_layer
        return slice((before + first) * self.places, (before + stop) * self.places)

    def edge_index(self, edge: tuple[str, str]) -> tuple[int, int]:
        """(row, column) of a (writer, reader) pair. Raises InputError for names or edges that do not exist."""
        writer, reader = edge
        if writer not in self.writer_index:
            raise unknown("writer", writer, self.writers)
        if reader not in self.reader_index:
            raise unknown("reader", reader, self.readers)
        row, column = self.writer_index[writer], self.reader_index[reader]
        if not bool(self.exists[row, column]):
            raise InputError(f"there is no edge {writer} -> {reader}: the writer does not come before the reader")
        return row, column

    def describe(self) -> dict[str, Any]:
        """The graph as plain JSON; `Graph.from_description` reads it."""
        return asdict(self) | {"positions": list(self.positions) if self.positions else None, "model": dict(self.model)}

    @classmethod
    def from_description(cls, description: Mapping[str, Any]) -> Graph:
        """The graph that `describe` described."""
        fields = dict(description)
        positions = fields.pop("positions", None)
        return cls(**fields, positions=_roles(positions))

    def check_same(self, other: Graph) -> None:
        """Raise InputError, with the difference, unless the other graph is this one, of the same model."""
        mine, others = self.describe(), other.describe()
        different = [name for name in mine if name != "model" and mine[name] != others[name]]
        shape = "".join(
            f"the two graphs differ in {name}: {mine[name]} here and {others[name]} there" for name in different[:1]
        )
        hashes = [graph.model.get("weights_sha256") for graph in (self, other)]
        if hashes[0] != hashes[1]:
            names = [str(graph.model.get("id", "unnamed")) for graph in (self, other)]
            raise InputError(
                f"this belongs to another model ({names[1]}), not to {names[0]}: {shape or 'their weights differ'}"
            )
        if shape:
            raise InputError(shape)

    def _placed(self, names: list[str]) -> tuple[str, ...]:
        if self.positions is None:
            return tuple(names)
        return tuple(f"{name}@{role}" for name in names for role in self.positions)

    @cached_property
    def _writers_a_layer(self) -> int:
        return self.n_heads + self.has_mlp

    @cached_property
    def _readers_a_layer(self) -> int:
        return sum(map(self._n_readers, self.letters))

    @cached_property
    def _readers_within(self) -> dict[str, tuple[int, int]]:
        """Where in a block the readers of each letter begin and end."""
        stops = list(accumulate(map(self._n_readers, self.letters)))
        return dict(zip(self.letters, zip([0, *stops], stops)))

    def _n_readers(self, letter: str) -> int:
        return {"q": self.n_heads, "k": self.n_key_value_heads, "v": self.n_key_value_heads, "m": 1}[letter]


def _roles(positions: Sequence[str] | None) -> tuple[str, ...] | None:
    if positions is None:
        return None
    roles = (positions,) if isinstance(positions, str) else tuple(positions)
    if not roles or len(set(roles)) < len(roles):
        raise InputError(f"positions are the names of roles, each once, not {list(roles)}")
    return roles
