"""`KnownFeatures`: activations made of known features, as language models' are thought to be made of unknown ones.

A token's activation is the sum of the directions of the features that fire, times how strongly each does. Firing is
rare, Zipf-like over features; some features are children that fire only where their parent does (so that absorption can
be seen); groups of features tend to fire together. Every feature's rate is exactly what `rates` says. After
SynthSAEBench (arXiv 2602.14687), which has 16,384 features in 768 dimensions; the defaults here fit a processor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.errors import InputError
from saes.activations.streams import State, Stream

SITE = "activations"


@dataclass(frozen=True)
class KnownFeatures:
    """What to make. `build` draws the features, `World.sample` tokens."""

    n_features: int = 1024
    """Number of features."""
    d_in: int = 128
    """Width of the activations."""
    l0: float = 10.0
    """Mean number of features that fire."""
    zipf: float = 0.5
    """How unequal rates are: the i-th feature's is proportional to i to the power of minus this."""
    max_rate: float = 0.4
    """No feature fires on a larger share of tokens."""
    n_trees: int = 24
    """Features with children (0: no hierarchy)."""
    branching: int = 3
    """Children of a feature that has any."""
    depth: int = 3
    """Features on a path from a root to a leaf."""
    correlation: float = 0.3
    """Correlation of the Gaussians behind two features of a group."""
    group_size: int = 8
    """Features of a group (1: all independent)."""
    magnitude_sd: float = 0.2
    """Spread of how strongly a feature fires, about 1."""
    bias: float = 1.0
    """Length of a constant vector in every activation."""
    noise: float = 0.0
    """Spread of what every dimension has besides."""
    orthogonal: bool = False
    """Directions at right angles, where there are no more features than dimensions; else random directions."""
    seed: int = 0
    """Decides directions, the hierarchy and the groups."""

    def __post_init__(self) -> None:
        if self.n_features < 1 or self.d_in < 1 or not 0 < self.l0 < self.max_rate * self.n_features:
            raise InputError(
                f"l0 = {self.l0} does not fit {self.n_features} features that fire on at most {self.max_rate} of tokens"
            )
        if self.n_in_trees > self.n_features:
            raise InputError(
                f"{self.n_trees} trees with {self.branching} children and depth {self.depth} take {self.n_in_trees} "
                f"features of {self.n_features}; use fewer or smaller trees"
            )
        if self.orthogonal and self.n_features > self.d_in:
            raise InputError(f"{self.n_features} directions in {self.d_in} dimensions cannot all be at right angles")
        if not 0 <= self.correlation < 1 or self.group_size < 1:
            raise InputError("correlation is from 0 to below 1, and a group has at least 1 feature")

    @property
    def n_in_trees(self) -> int:
        """Features that have a parent or children."""
        return sum(self.n_trees * self.branching**level for level in range(self.depth if self.n_trees else 0))

    def build(self) -> World:
        """Draw directions, the hierarchy and the groups."""
        return World(self)


class Tokens(NamedTuple):
    """x [token, d_in]: activations. active [token, feature]: what fires there."""

    x: Float[Tensor, "token d_in"]
    active: Bool[Tensor, "token feature"]


class World:
    """The features. directions [feature, d_in] of length 1. rates [feature], descending: share of tokens each fires on.
    parents [feature]: number of each one's parent, −1 where it has none. levels [feature]: how many ancestors.
    """

    def __init__(self, config: KnownFeatures) -> None:
        self.config = config
        # A seed of its own: a dictionary that begins from the same seed must not begin with these directions.
        generator = torch.Generator().manual_seed(_seed(config.seed, 0xFFFF, 0))
        drawn = torch.randn(max(config.n_features, config.d_in), config.d_in, generator=generator)
        if config.orthogonal:
            drawn = torch.linalg.qr(drawn[: config.d_in].double()).Q.float()
        self.directions = torch.nn.functional.normalize(drawn[: config.n_features], dim=1)
        self.bias = config.bias * torch.nn.functional.normalize(torch.randn(config.d_in, generator=generator), dim=0)
        self.rates = _rates(config)
        self.parents, self.levels = _trees(config, generator)
        self._groups = _groups(config, self.levels, generator)
        given = torch.where(self.parents >= 0, self.rates[self.parents.clamp_min(0)], torch.ones(()))
        # A feature fires where its Gaussian is below this, and its parent fires.
        self._limits = torch.special.ndtri((self.rates / given).double()).float()

    def sample(self, n: int, generator: torch.Generator) -> Tokens:
        """`n` tokens."""
        config = self.config
        own = torch.randn(n, config.n_features, generator=generator)
        shared = torch.randn(n, int(self._groups.max()) + 1, generator=generator)
        together = config.correlation if config.group_size > 1 else 0.0
        gaussians = (1 - together) ** 0.5 * own + together**0.5 * shared[:, self._groups]
        active = gaussians < self._limits
        for level in range(1, int(self.levels.max()) + 1):
            here = (self.levels == level).nonzero().flatten()
            active[:, here] &= active[:, self.parents[here]]
        rows, features = active.nonzero(as_tuple=True)
        strength = 1 + config.magnitude_sd * torch.randn(len(rows), generator=generator)
        values = torch.zeros(n, config.n_features)
        values[rows, features] = strength.clamp_min(0.05)
        x = values @ self.directions + self.bias
        if config.noise:
            x += config.noise * torch.randn(x.shape, generator=generator)
        return Tokens(x, active)

    def stream(self, seed: int = 0) -> SyntheticStream:
        """Tokens to train on, without end."""
        return SyntheticStream(self, seed)

    def test_tokens(self, n: int) -> Tokens:
        """The same `n` tokens every time, which no stream gives."""
        return self.sample(n, torch.Generator().manual_seed(_seed(self.config.seed, 0xFFFF, 1)))


class SyntheticStream(Stream):
    """Tokens of a world; every batch follows from the seed and its number."""

    n_tokens = None

    def __init__(self, world: World, seed: int = 0) -> None:
        self.world, self.seed = world, seed
        self.widths = {SITE: world.config.d_in}
        self._n_batches = 0

    def next_batch(self, size: int) -> dict[str, Float[Tensor, "tokens d_in"]]:
        """Fresh tokens."""
        self._n_batches += 1
        return self._draw(size, self._n_batches)

    def sample(self, size: int) -> dict[str, Float[Tensor, "tokens d_in"]]:
        """The same tokens every time."""
        return self._draw(size, -1)

    def held_out(self, size: int) -> dict[str, Float[Tensor, "tokens d_in"]]:
        """Tokens that no batch has."""
        return self._draw(size, -2)

    def state(self) -> State:
        """How many batches were given."""
        return {}, {"seed": self.seed, "n_batches": self._n_batches}

    def restore(self, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Go back to a number of batches."""
        if plain["seed"] != self.seed:
            raise InputError(f"the stored order has seed {plain['seed']}, this stream {self.seed}")
        self._n_batches = int(plain["n_batches"])

    def describe(self) -> dict[str, Any]:
        """The world and the seed."""
        return {"kind": "known features", **asdict(self.world.config), "order_seed": self.seed}

    def _draw(self, size: int, number: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(_seed(self.world.config.seed, self.seed, number))
        return {SITE: self.world.sample(size, generator).x}


def _seed(*numbers: int) -> int:
    """One seed of several numbers."""
    seed = 0
    for number in numbers:
        seed = (seed * 1_000_003 + number) % 2**62
    return seed


def _rates(config: KnownFeatures) -> Float[Tensor, " feature"]:
    """Zipf's law with a ceiling, scaled to the mean number that fires."""
    law = torch.arange(1, config.n_features + 1, dtype=torch.float64) ** -config.zipf
    scale = config.l0 / law.sum()
    for _ in range(100):  # what the ceiling takes goes to the others
        scale *= config.l0 / (law * scale).clamp_max(config.max_rate).sum()
    return (law * scale).clamp_max(config.max_rate).float()


def _trees(
    config: KnownFeatures, generator: torch.Generator
) -> tuple[Int[Tensor, " feature"], Int[Tensor, " feature"]]:
    """Parent and number of ancestors of every feature. Parents are more frequent than their children."""
    parents = torch.full((config.n_features,), -1)
    levels = torch.zeros(config.n_features, dtype=torch.long)
    members = torch.randperm(config.n_features, generator=generator)[: config.n_in_trees].sort().values
    above, start = members[: config.n_trees], config.n_trees
    for level in range(1, config.depth if config.n_trees else 1):
        here = members[start : start + len(above) * config.branching]
        parents[here] = above.repeat(config.branching)
        levels[here] = level
        above, start = here, start + len(here)
    return parents, levels


def _groups(config: KnownFeatures, levels: Tensor, generator: torch.Generator) -> Int[Tensor, " feature"]:
    """The number of every feature's group. Groups stay within a level, so that rates stay what they are."""
    groups, n = torch.zeros(config.n_features, dtype=torch.long), 0
    for level in range(int(levels.max()) + 1):
        here = (levels == level).nonzero().flatten()
        order = torch.randperm(len(here), generator=generator)
        groups[here[order]] = n + torch.arange(len(here)) // config.group_size
        n = int(groups.max()) + 1
    return groups
