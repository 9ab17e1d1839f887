"""What a reconstruction keeps of activations: explained variance, error, direction, size.

Explained variance is 1 − Σ‖x − x̂‖² / Σ‖x − mean(x)‖², with both sums over all tokens. (Variance about zero, which some
libraries have used, counts the mean of the activations as explained and is larger.) Dimensions in which activations do
not vary, to their last digits, have none: they are left out of the mean over dimensions, and where no dimension varies
explained variance is NaN, here and in the log of a training.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import InputError
from saes.architectures import Dictionary

ROUNDING = 1e-12
"""Share of the mean square below which a variance is what rounding leaves over."""


@dataclass
class Fidelity:
    """Sums over tokens, from which all measures follow; fed in portions, so that any number of tokens fits."""

    n: int = 0
    sums: dict[str, Tensor] = field(default_factory=dict)

    @torch.no_grad()
    def add(
        self, x: Float[Tensor, "tokens d_in"], reconstruction: Float[Tensor, "tokens d_in"], latents: Tensor
    ) -> None:
        """Take in some tokens: what was to be reconstructed, what came out, and the latents [tokens, d_sae]."""
        x, made = x.double(), reconstruction.double()
        error = (x - made).square()
        active = latents > 0
        found = {
            "x": x.sum(0),
            "x²": x.square().sum(0),
            "error": error.sum(0),
            "cosine": torch.cosine_similarity(x, made, dim=1, eps=1e-100).sum(),
            "ratio": (made.norm(dim=1) / x.norm(dim=1).clamp_min(1e-38)).sum(),
            "active": active.double().sum(0),
            "l0²": active.sum(1).double().square().sum(),
        }
        self.sums = {name: self.sums[name] + value if self.n else value for name, value in found.items()}
        self.n += len(x)

    def measures(self) -> dict[str, float]:
        """The numbers, named as everywhere: see `MEASURES`. Raises InputError when no token was taken in."""
        if not self.n:
            raise InputError("there are no tokens to measure a dictionary on")
        variance = self.sums["x²"] - self.sums["x"].square() / self.n
        varies = variance > ROUNDING * self.sums["x²"]
        per_dimension = 1 - self.sums["error"][varies] / variance[varies]
        total = variance[varies].sum()
        l0 = float(self.sums["active"].sum()) / self.n
        return {
            "explained_variance": 1 - float(self.sums["error"].sum() / total) if varies.any() else float("nan"),
            "explained_variance_per_dimension": float(per_dimension.mean()),
            "mse": float(self.sums["error"].sum()) / self.n,
            "cosine": float(self.sums["cosine"]) / self.n,
            "norm_ratio": float(self.sums["ratio"]) / self.n,
            "l0": l0,
            "l0_sd": max(float(self.sums["l0²"]) / self.n - l0**2, 0.0) ** 0.5,
        }

    @property
    def firing(self) -> Float[Tensor, " d_sae"]:
        """Share of tokens each latent fires on."""
        return (self.sums["active"] / max(self.n, 1)).float().cpu()


MEASURES = {
    "explained_variance": "1 − Σ‖x − x̂‖² / Σ‖x − mean(x)‖², over all tokens",
    "explained_variance_per_dimension": "the same in every dimension, then the mean",
    "mse": "mean over tokens of ‖x − x̂‖²",
    "cosine": "mean cosine of x and x̂",
    "norm_ratio": "mean of ‖x̂‖ / ‖x‖",
    "l0": "mean number of active latents",
    "l0_sd": "its spread over tokens",
}


@torch.no_grad()
def fidelity(dictionary: Dictionary, x: Float[Tensor, "tokens d_in"], chunk: int = 2048) -> Fidelity:
    """Measure a dictionary on activations."""
    found = Fidelity()
    for part in x.split(chunk):
        out = dictionary(part.float())
        found.add(part, out.reconstruction, out.latents)
    return found
