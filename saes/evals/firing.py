"""Which latents work: alive, dead and dense ones, and where their directions point."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from saes.architectures import Dictionary

DENSE = 0.1
"""A latent that fires on more than this share of tokens is dense: it says little about any of them."""


def firing_measures(firing: Float[Tensor, " d_sae"]) -> dict[str, float]:
    """Shares of latents that never fired (dead), that did (alive), and that fire on over a tenth of tokens (dense)."""
    return {
        "alive": float((firing > 0).float().mean()),
        "dead": float((firing == 0).float().mean()),
        "dense": float((firing > DENSE).float().mean()),
    }


def histogram(
    firing: Float[Tensor, " d_sae"], n_bins: int = 30, lowest: float = -6.0
) -> tuple[Float[Tensor, " edge"], Float[Tensor, " bin"]]:
    """How many latents fire how often: bin edges in log10 of the share of tokens, and counts; the dead are left out."""
    edges = torch.linspace(lowest, 0.0, n_bins + 1)
    logs = firing[firing > 0].log10().clamp(lowest, 0.0)
    return edges, torch.histogram(logs, edges).hist


@torch.no_grad()
def direction_measures(dictionary: Dictionary, alive: Tensor | None = None, chunk: int = 1024) -> dict[str, float]:
    """How alike directions are: each one's largest cosine with another, mean and 95th percentile; the same of encoder
    and decoder of one latent.

    alive [d_sae]: the latents that count (default: all). A high mean says that latents double each other.
    """
    largest = nearest_cosines(dictionary, alive, chunk)
    if not len(largest):
        return {"nearest_cosine": float("nan"), "nearest_cosine_95": float("nan"), "encoder_cosine": float("nan")}
    kept = slice(None) if alive is None else alive
    aligned = torch.cosine_similarity(dictionary.encoder[kept].float(), dictionary.decoder[kept].float(), dim=1)
    return {
        "nearest_cosine": float(largest.mean()),
        "nearest_cosine_95": float(largest.quantile(0.95)),
        "encoder_cosine": float(aligned.mean()),
    }


@torch.no_grad()
def nearest_cosines(
    dictionary: Dictionary, alive: Tensor | None = None, chunk: int = 1024
) -> Float[Tensor, " latents"]:
    """The largest cosine of each living latent's direction with another's; empty for less than two of them."""
    rows = dictionary.decoder if alive is None else dictionary.decoder[alive]
    if len(rows) < 2:
        return rows.new_zeros(0)
    unit = torch.nn.functional.normalize(rows.float(), dim=1)
    nearest = []
    for start in range(0, len(unit), chunk):
        cosines = unit[start : start + chunk] @ unit.T
        own = torch.arange(start, start + len(cosines), device=unit.device)
        cosines[torch.arange(len(cosines), device=unit.device), own] = -1.0
        nearest.append(cosines.amax(1))
    return torch.cat(nearest)
