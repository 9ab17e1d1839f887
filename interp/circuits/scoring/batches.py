"""What methods that score edges have in common: their settings, what they give, and the walk over the prompts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float
from torch import Tensor

from interp.circuits.blocks import Block, blocks_of
from interp.circuits.edges import contract
from interp.circuits.graph import Graph
from interp.circuits.kept_tokens import KeptTokens, Side, kept_tokens
from interp.circuits.memory import MemoryPlan
from interp.circuits.recording import LayerReading, Reading, Where, Written, record_written
from interp.hooks.partial import embedding_device
from interp.patching.packing import DEFAULT_BUDGET
from interp.tasks import PromptPairs

Edge = tuple[str, str]


@dataclass(frozen=True)
class Settings:
    """How edges are scored. at: the run at which gradients are taken and edges are changed, "clean" or "corrupt".

    steps: of an integral. edges: only these, for methods whose cost grows with them. options: of a single method.
    """

    at: str = "clean"
    steps: int = 5
    edges: tuple[Edge, ...] | None = None
    batch_size: int | None = None
    memory_budget: int = DEFAULT_BUDGET
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Scored:
    """Scores of a batch of prompts, or one for all of the task where a method is not BY_PROMPT.

    own, other: the metric of both runs of each prompt, "own" being the one that gradients are taken at; None where a
    method does not know. batch_size: prompts that shared a pass, where that is not the number of prompts scored here.
    """

    scores: Float[Tensor, "example writers readers"]
    own: Float[Tensor, " prompt"] | None = None
    other: Float[Tensor, " prompt"] | None = None
    batch_size: int | None = None


@dataclass(frozen=True, eq=False)
class Batch:
    """A batch of prompts, with what scoring it needs."""

    model: Any
    graph: Graph
    blocks: list[Block]
    kept: KeptTokens
    n_examples: int
    plan: MemoryPlan

    @property
    def own_tokens(self) -> Where:
        """Row and position of each kept token in the run that gradients are taken at."""
        return self.kept.rows, self.kept.own.at

    @property
    def other_tokens(self) -> Where:
        """The same in the other run."""
        return self.kept.rows, self.kept.other.at

    def tokens(self, side: Side) -> Tensor:
        """The token ids of a run, where the model takes them."""
        return side.tokens.to(embedding_device(self.model))

    def other_written(self) -> tuple[Written, Float[Tensor, " batch"]]:
        """What the other run's writers write, and its metric."""
        side = self.kept.other
        return record_written(self.model, self.blocks, self.tokens(side), self.other_tokens, side.metric)

    def own_written(self) -> tuple[Written, Float[Tensor, " batch"]]:
        """The same of the run that gradients are taken at."""
        side = self.kept.own
        return record_written(self.model, self.blocks, self.tokens(side), self.own_tokens, side.metric)

    def difference(self, own: Written, other: Written) -> Written:
        """What writers wrote on the clean prompt less what they wrote on the corrupt one."""
        return own.minus(other, self.kept.sign)

    def empty_reading(self, first: int = 0) -> Reading:
        """A place for gradients at the readers from block `first` on."""
        return Reading([LayerReading() for _ in self.blocks], first=first)

    def contract(
        self, difference: Written, reading: Reading, writers: slice = slice(None)
    ) -> Float[Tensor, "example writers readers"]:
        """The scores of all edges; see `edges.contract`."""
        return contract(
            self.model,
            self.graph,
            self.blocks,
            difference,
            reading,
            self.kept,
            self.n_examples,
            self.plan.tile_tokens,
            writers,
        )


def batches(model: Any, task: PromptPairs, graph: Graph, settings: Settings, plan: MemoryPlan) -> Iterator[Batch]:
    """The prompts, as many at a time as the plan says."""
    blocks = blocks_of(model)
    for start in range(0, len(task), plan.prompts):
        part = task[start : start + plan.prompts]
        yield Batch(model, graph, blocks, kept_tokens(part, graph, settings.at), len(part), plan)
