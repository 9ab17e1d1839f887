"""Which tokens a dictionary learns from and is measured on: those whose activations are of the ordinary kind.

The first position of a text, and a few tokens elsewhere, carry activations many times the usual norm (attention sinks).
Left in, they are most of the variance and a few latents spend themselves on them; they are left out everywhere, and so
are pads and, when asked for, special tokens.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

OUTLIER_RATIO = 10.0
"""A token whose norm is over this many times the median is left out."""


def ordinary(
    activations: Float[Tensor, "batch pos d_in"],
    tokens: Int[Tensor, "batch pos"],
    lengths: Int[Tensor, " batch"] | None = None,
    excluded: Collection[int] = (),
) -> Bool[Tensor, "batch pos"]:
    """True where a token counts: not in first place, no pad, none of the `excluded` ids, no outlier of norm.

    lengths: tokens of each row that are no pads (default: all). Outliers are told by the median over the other tokens.
    """
    places = torch.arange(tokens.shape[1], device=tokens.device)
    kept = (places > 0).expand(tokens.shape).clone()
    if lengths is not None:
        kept &= places < lengths.to(tokens.device)[:, None]
    if excluded:
        kept &= ~torch.isin(tokens, torch.tensor(sorted(excluded), device=tokens.device))
    kept = kept.to(activations.device)
    norms = activations.float().norm(dim=-1)
    if not kept.any():
        return kept
    return kept & (norms <= OUTLIER_RATIO * norms[kept].median())
