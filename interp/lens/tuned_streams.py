"""The residual streams that a tuned lens reads, at positions drawn at random."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import InputError
from interp.hooks import sites
from interp.hooks.capturing import capture

OUTLIER_RATIO = 10.0
"""A token whose stream is this many times the median long, at any layer, is an attention sink: it is left out."""


def draw_positions(n_contexts: int, length: int, n: int, generator: torch.Generator) -> Int[Tensor, "context position"]:
    """`n` different positions of each context in order, never the first, where attention sinks are."""
    if not 1 <= n < length:
        raise InputError(f"a context of {length} tokens has 1 to {length - 1} positions to read, not {n}")
    return 1 + torch.rand(n_contexts, length - 1, generator=generator).argsort(-1)[:, :n].sort(-1).values


@torch.no_grad()
def streams_at(
    model: Any, contexts: Int[Tensor, "context pos"], positions: Int[Tensor, "context position"]
) -> Float[Tensor, "layer context position d_model"]:
    """The stream that enters every block, and the last one's output as layer n_layers; float32, in one forward pass."""
    n_layers = int(model.cfg.n_layers)
    wanted = [*(sites.resid_pre(layer) for layer in range(n_layers)), sites.resid_post(n_layers - 1)]
    acts = capture(model, contexts, wanted, positions)
    device = acts[wanted[-1]].device  # a model may be spread over several
    return torch.stack([acts[site].float().to(device) for site in wanted])


def usual_tokens(streams: Float[Tensor, "layer token d_model"]) -> Tensor:
    """True for tokens whose stream is nowhere over OUTLIER_RATIO times the median length: Bool[token], on the CPU."""
    norms = streams.norm(dim=-1)
    return (norms <= OUTLIER_RATIO * norms.median(dim=-1, keepdim=True).values).all(0).cpu()
