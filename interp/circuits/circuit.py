"""A circuit: a set of edges of a model's graph."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from jaxtyping import Bool
from torch import Tensor

from interp.circuits.graph import Graph
from interp.errors import InputError, unknown
from interp.runs import atomic_write

Edge = tuple[str, str]
FORMAT = 1


@dataclass(frozen=True, eq=False)
class Circuit:
    """Edges of a graph as a matrix. settings: how the circuit was found, JSON-able; it is saved with it.

    Circuits of one graph are combined by `|`, `&`, `-` and `~` (the graph's other edges). Raises InputError for a mask
    of another shape or with edges that the graph does not have.
    """

    graph: Graph
    mask: Bool[Tensor, "writers readers"]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = (len(self.graph.writers), len(self.graph.readers))
        if tuple(self.mask.shape) != shape or self.mask.dtype != torch.bool:
            raise InputError(f"a circuit's mask is boolean, {shape}, not {self.mask.dtype} {tuple(self.mask.shape)}")
        object.__setattr__(self, "mask", self.mask.detach().cpu())
        if bool((self.mask & ~self.graph.exists).any()):
            row, column = (self.mask & ~self.graph.exists).nonzero()[0].tolist()
            raise InputError(f"there is no edge {self.graph.writers[row]} -> {self.graph.readers[column]} in the graph")

    @classmethod
    def full(cls, graph: Graph) -> Circuit:
        """All edges."""
        return cls(graph, graph.exists.clone())

    @classmethod
    def empty(cls, graph: Graph) -> Circuit:
        """No edge."""
        return cls(graph, torch.zeros_like(graph.exists))

    @classmethod
    def from_edges(cls, graph: Graph, edges: Iterable[Edge], settings: Mapping[str, Any] | None = None) -> Circuit:
        """The circuit of (writer, reader) names."""
        mask = torch.zeros_like(graph.exists)
        for edge in edges:
            mask[graph.edge_index(edge)] = True
        return cls(graph, mask, settings or {})

    @classmethod
    def from_nodes(cls, graph: Graph, nodes: Iterable[str], settings: Mapping[str, Any] | None = None) -> Circuit:
        """All edges among nodes (heads "a3.7" and MLPs "m3"; over positions "a3.7@S2"), embedding and logits.

        Keys and values that heads share are there when one of the heads is.
        """
        chosen = set(nodes)
        for name in chosen:
            if name not in graph.writer_index and not name.startswith("logits"):
                raise unknown("node", name, graph.writers)
        writes = torch.tensor([name in chosen or name.startswith("embed") for name in graph.writers])
        reads = (graph.feeds & writes).any(1)
        reads[graph.reader_slice(graph.n_layers, "logits")] = True
        return cls(graph, graph.exists & writes[:, None] & reads, settings or {})

    @property
    def n_edges(self) -> int:
        """How many edges it has."""
        return int(self.mask.sum())

    def edges(self) -> list[Edge]:
        """(writer, reader) names, reader by reader."""
        columns, rows = self.mask.T.nonzero(as_tuple=True)
        return [(self.graph.writers[row], self.graph.readers[column]) for row, column in zip(rows, columns)]

    def nodes(self) -> tuple[str, ...]:
        """Names of the nodes that an edge touches: embedding, heads, MLPs, logits.

        Keys and values that heads share stand for those heads that write in the circuit, or for all of them if none
        does.
        """
        writes, read = self.mask.any(1), self.mask.any(0)
        fed = self.graph.feeds & read[:, None]
        unclear = fed & ~(fed & writes).any(1, keepdim=True)
        touched = writes | unclear.any(0) | (fed & writes).any(0)
        names = [name for name, here in zip(self.graph.writers, touched) if here]
        last = self.graph.reader_slice(self.graph.n_layers, "logits")
        return (*names, *(name for name, here in zip(self.graph.readers[last], read[last]) if here))

    def prune(self) -> Circuit:
        """Without the edges that lie on no path from the embedding to the logits."""
        return replace(self, mask=self.mask & self._from_embedding()[:, None] & self._to_logits())

    def iou(self, other: Circuit, level: str = "edge") -> float:
        """Shared edges (or nodes) over all that either has; NaN when both are empty.

        level: "edge" or "node" (heads and MLPs; embedding and logits, which every circuit has, do not count). Raises
        InputError for a circuit of another graph, or no circuit.
        """
        if not isinstance(other, Circuit):
            raise InputError(f"a circuit is compared with a Circuit, not with a {type(other).__name__}")
        self.graph.check_same(other.graph)
        if level == "edge":
            either = int((self.mask | other.mask).sum())
            return int((self.mask & other.mask).sum()) / either if either else float("nan")
        if level != "node":
            raise unknown("level", level, ("edge", "node"))
        mine, others = (
            {name for name in circuit.nodes() if not name.startswith(("embed", "logits"))} for circuit in (self, other)
        )
        return len(mine & others) / len(mine | others) if mine | others else float("nan")

    def equal(self, other: Circuit) -> bool:
        """The same edges of the same graph; settings do not count."""
        same = self.graph.describe() == other.graph.describe()
        return same and torch.equal(self.mask, other.mask)

    def __or__(self, other: Circuit) -> Circuit:
        return self._with(other, lambda mine, others: mine | others)

    def __and__(self, other: Circuit) -> Circuit:
        return self._with(other, lambda mine, others: mine & others)

    def __sub__(self, other: Circuit) -> Circuit:
        return self._with(other, lambda mine, others: mine & ~others)

    def __invert__(self) -> Circuit:
        return Circuit(self.graph, self.graph.exists & ~self.mask)

    def __len__(self) -> int:
        return self.n_edges

    def __contains__(self, edge: object) -> bool:
        """Whether an edge, ("embed", "a0.0.v") or "embed -> a0.0.v", is in the circuit; False for what is no edge."""
        pair = tuple(part.strip() for part in edge.split("->")) if isinstance(edge, str) else edge
        if not (isinstance(pair, tuple | list) and len(pair) == 2 and all(isinstance(name, str) for name in pair)):
            return False
        row, column = self.graph.writer_index.get(pair[0]), self.graph.reader_index.get(pair[1])
        return row is not None and column is not None and bool(self.mask[row, column])

    def __repr__(self) -> str:
        of = f"{self.n_edges} of {self.graph.n_edges} edges"
        return f"Circuit({of}, {len(self.nodes())} nodes, {self.graph.model.get('id', 'unnamed model')})"

    def to_frame(self) -> pd.DataFrame:
        """One row an edge: writer, reader."""
        return pd.DataFrame(self.edges(), columns=["writer", "reader"])

    def save(self, path: str | Path) -> Path:
        """Write the circuit as JSON: the graph, the settings, and the writers that each reader reads."""
        reads: dict[str, list[str]] = {}
        for writer, reader in self.edges():
            reads.setdefault(reader, []).append(writer)
        content = {
            "format": FORMAT,
            "graph": self.graph.describe(),
            "settings": dict(self.settings),
            "n_edges": self.n_edges,
            "reads": reads,
        }
        atomic_write(Path(path), json.dumps(content, indent=1) + "\n")
        return Path(path)

    @classmethod
    def load(cls, path: str | Path, graph: Graph | None = None) -> Circuit:
        """The circuit saved at `path`. graph: the graph it must belong to.

        Raises InputError for a file that holds no circuit, or the circuit of another model.
        """
        try:
            content = json.loads(Path(path).read_text())
            if content["format"] != FORMAT:
                raise InputError(f"{path} was written in format {content['format']}; this version reads {FORMAT}")
            own = Graph.from_description(content["graph"])
            edges = [(writer, reader) for reader, writers in content["reads"].items() for writer in writers]
        except FileNotFoundError as error:
            raise InputError(f"there is no circuit at {path}; give the path that Circuit.save wrote") from error
        except OSError as error:
            raise InputError(
                f"{path} cannot be read ({error.strerror}); give a file that Circuit.save wrote"
            ) from error
        except (KeyError, TypeError, AttributeError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise InputError(f"{path} holds no circuit ({error}); give a file that Circuit.save wrote") from error
        if graph is not None:
            graph.check_same(own)
        return cls.from_edges(own, edges, content["settings"])

    def _with(self, other: object, combine: Callable[[Tensor, Tensor], Tensor]) -> Any:
        """The two masks combined, once both are known to be of one graph; Python refuses what is no circuit."""
        if not isinstance(other, Circuit):
            return NotImplemented
        self.graph.check_same(other.graph)
        return Circuit(self.graph, combine(self.mask, other.mask))

    def _from_embedding(self) -> Bool[Tensor, " writers"]:
        """Writers that the embedding reaches through the circuit."""
        reached = self.graph.writer_layer < 0
        for _ in range(2 * self.graph.n_layers):
            reached = reached | _any(_any(reached, self.mask), self.graph.feeds)
        return reached

    def _to_logits(self) -> Bool[Tensor, " readers"]:
        """Readers that reach the logits through the circuit."""
        reaching = self.graph.reader_layer == self.graph.n_layers
        for _ in range(2 * self.graph.n_layers):
            reaching = reaching | _any(_any(reaching, self.mask.T), self.graph.feeds.T)
        return reaching


def _any(chosen: Bool[Tensor, " a"], links: Bool[Tensor, "a b"]) -> Bool[Tensor, " b"]:
    """What the chosen ones lead to."""
    return (chosen.float() @ links.float()) > 0
