"""How well a dictionary finds features that are known: directions, and on which tokens they fire.

Features and latents are matched one to one, so that the sum of the cosines of their directions is largest; a matched
latent's firing is then a statement about its feature's. Averages are over features, so rare ones count as much.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]
from torch import Tensor

from interp.errors import InputError
from saes.architectures import Dictionary
from saes.evals.known_features import Tokens, World

ENOUGH = 10
"""Tokens that a feature has to fire on, to be counted."""

MEANING = {
    "f1": "harmonic mean of precision and recall, per feature, then the mean over features",
    "precision": "share of the tokens on which the matched latent fires where its feature does",
    "recall": "share of the tokens on which a feature fires where its matched latent does",
    "matched_cosine": "mean cosine of features' directions with those of their matched latents, one to one",
    "best_cosine": "mean over features of the largest cosine with any latent's direction",
    "recovered": "share of features whose matched latent's direction has a cosine over 0.9",
    "absorption": "parents' recall where no child fires less that where one does (0: children hide nothing)",
}
"""What the numbers are."""


@dataclass(frozen=True, eq=False)
class Detection:
    """Tokens by feature: fired and said so, said so alone, fired alone. All [feature]."""

    hits: Float[Tensor, " feature"]
    false_alarms: Float[Tensor, " feature"]
    misses: Float[Tensor, " feature"]

    @property
    def counted(self) -> Bool[Tensor, " feature"]:
        """Features that fire often enough to say something about."""
        return self.hits + self.misses >= ENOUGH

    @property
    def precision(self) -> Float[Tensor, " feature"]:
        """0 where a latent never fires."""
        return self.hits / (self.hits + self.false_alarms).clamp_min(1)

    @property
    def recall(self) -> Float[Tensor, " feature"]:
        """By feature."""
        return self.hits / (self.hits + self.misses).clamp_min(1)

    @property
    def f1(self) -> Float[Tensor, " feature"]:
        """By feature."""
        return 2 * self.hits / (2 * self.hits + self.false_alarms + self.misses).clamp_min(1)

    def means(self) -> dict[str, float]:
        """Over the features that are counted. Raises InputError where there are none."""
        if not self.counted.any():
            raise InputError(f"no feature fires on {ENOUGH} of the test tokens; use more of them")
        named = {"f1": self.f1, "precision": self.precision, "recall": self.recall}
        return {name: float(values[self.counted].mean()) for name, values in named.items()}


def detection(said: Bool[Tensor, "token feature"], active: Bool[Tensor, "token feature"]) -> Detection:
    """Compare statements with what fires."""
    hits = (said & active).sum(0).double()
    return Detection(hits, said.sum(0).double() - hits, active.sum(0).double() - hits)


def match(
    decoder: Float[Tensor, "latent d_in"], directions: Float[Tensor, "feature d_in"]
) -> tuple[Int[Tensor, " feature"], Float[Tensor, " feature"], Float[Tensor, " feature"]]:
    """The latent of every feature (−1 for those that are left over), its cosine (then 0), and the largest cosine."""
    normal = torch.nn.functional.normalize
    cosines = normal(decoder.float(), dim=1) @ normal(directions.to(decoder.device).float(), dim=1).T
    latents, features = linear_sum_assignment(cosines.cpu().numpy(), maximize=True)
    chosen = torch.full((len(directions),), -1)
    chosen[torch.from_numpy(features)] = torch.from_numpy(latents)
    own = cosines.cpu()[chosen.clamp_min(0), torch.arange(len(directions))]
    return chosen, torch.where(chosen >= 0, own, torch.zeros(())), cosines.amax(0).cpu()


@torch.no_grad()
def recovery(
    dictionary: Dictionary, world: World, tokens: Tokens, chunk: int = 2048
) -> tuple[dict[str, float], Detection]:
    """The numbers of `MEANING` for a dictionary, on tokens of a world, and what they come from, by feature.

    A feature without a latent of its own counts as never found. Raises InputError when no feature fires often enough.
    """
    chosen, cosine, best = match(dictionary.decoder, world.directions)
    device = dictionary.decoder.device
    said = torch.zeros(tokens.active.shape, dtype=torch.bool)
    for start in range(0, len(tokens.x), chunk):
        latents = dictionary.encode(tokens.x[start : start + chunk].to(device)).cpu()
        said[start : start + chunk] = (latents[:, chosen.clamp_min(0)] > 0) & (chosen >= 0)
    found = detection(said, tokens.active)
    return {
        **found.means(),
        "matched_cosine": float(cosine.mean()),
        "best_cosine": float(best.mean()),
        "recovered": float((cosine > 0.9).float().mean()),
        "absorption": absorption(said, tokens.active, world.parents),
    }, found


def absorption(
    said: Bool[Tensor, "token feature"], active: Bool[Tensor, "token feature"], parents: Int[Tensor, " feature"]
) -> float:
    """How much less of a parent is found where one of its children fires: a specific latent then stands for both."""
    with_children = parents[parents >= 0].unique()
    differences = []
    for parent in with_children.tolist():
        child_fires = active[:, parents == parent].any(1)
        alone, together = active[:, parent] & ~child_fires, active[:, parent] & child_fires
        if min(int(alone.sum()), int(together.sum())) >= ENOUGH:
            differences.append(float(said[alone, parent].float().mean() - said[together, parent].float().mean()))
    return sum(differences) / len(differences) if differences else 0.0
