"""Which shapes feature vectors form: groups that share dimensions with each other and with nobody else.

k vectors that spread evenly over d dimensions each have d/k of one (Elhage et al. 2022, "Uniform superposition").
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.errors import InputError
from interp.superposition.feature_vectors import TINY, cosines

NAMES = {
    (1, 1): "dedicated",
    (2, 1): "digon",
    (3, 2): "triangle",
    (4, 3): "tetrahedron",
    (5, 2): "pentagon",
    (8, 3): "square antiprism",
}
"""(vectors, dimensions they span): what the paper calls the shape."""
TOUCHING = 0.15
"""|cosine| from which two features share a dimension."""
REPRESENTED = 0.25
"""Squared length from which a feature counts as represented."""
SPREAD = 0.02
"""Singular values below this share of the largest span no dimension (their squares)."""


@dataclass(frozen=True)
class Polytope:
    """A group of features: which, and the dimensions their vectors span."""

    features: tuple[int, ...]
    dimensions: int

    @property
    def name(self) -> str:
        """The paper's name where it has one, else "7 in 3"."""
        return NAMES.get((len(self.features), self.dimensions), f"{len(self.features)} in {self.dimensions}")

    @property
    def share(self) -> float:
        """Dimensions a feature, when the vectors are spread evenly."""
        return self.dimensions / len(self.features)


def polytopes(
    weights: Float[Tensor, "*shape"], touching: float = TOUCHING, represented: float = REPRESENTED
) -> list[Polytope]:
    """The groups of represented features of one model that touch, directly or through others, largest first.

    weights: W [hidden, feature]. touching: |cosine| from which two features touch. represented: squared length from
    which a feature counts. Raises InputError for weights of several models.
    """
    if weights.ndim != 2:
        raise InputError(f"polytopes are of one model, W [hidden, feature], not of shape {tuple(weights.shape)}")
    there = weights.square().sum(0) >= max(represented, TINY)
    linked = (cosines(weights).abs() >= touching) & there[:, None] & there[None, :]
    groups = _components(linked, there)
    found = [Polytope(tuple(group), _rank(weights[:, group])) for group in groups]
    return sorted(found, key=lambda polytope: -len(polytope.features))


def shape_of(weights: Float[Tensor, "hidden feature"]) -> str:
    """The shapes of one model in words: "2 digons + 1 dedicated"; "nothing" where no feature is represented."""
    counts = Counter(polytope.name for polytope in polytopes(weights))
    return " + ".join(_counted(name, count) for name, count in counts.items()) or "nothing"


def _counted(name: str, count: int) -> str:
    if count == 1:
        return name
    return f"{count} {name}s" if name in NAMES.values() and name != "dedicated" else f"{count} {name}"


def _components(linked: Bool[Tensor, "feature feature"], there: Bool[Tensor, " feature"]) -> list[list[int]]:
    """Connected components among the features that are there, by growing from one feature at a time."""
    left = there.clone()
    groups = []
    while left.any():
        group = torch.zeros_like(left)
        group[int(left.nonzero()[0])] = True
        while True:
            grown = group | (linked[group].any(0) & left)
            if torch.equal(grown, group):
                break
            group = grown
        groups.append(group.nonzero().flatten().tolist())
        left = left & ~group
    return groups


def _rank(vectors: Float[Tensor, "hidden feature"]) -> int:
    squares = torch.linalg.svdvals(torch.nn.functional.normalize(vectors, dim=0)).square()
    return int((squares > SPREAD * squares[0]).sum())
