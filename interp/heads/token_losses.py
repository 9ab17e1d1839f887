"""The loss at chosen positions of prompts, without ever holding more than a few positions' logits."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.hooks.partial import can_read_narrowly, read_out, run
from interp.hooks.readout import Readout

LOGIT_BYTES = 2**26
"""Logits that exist at a time."""


@torch.no_grad()
def losses_at(
    model: Any,
    tokens: Int[Tensor, "batch pos"],
    positions: Int[Tensor, " predicted"],
    *,
    residual: Float[Tensor, "batch pos d_model"] | None = None,
    start: int = 0,
) -> Float[Tensor, "batch predicted"]:
    """-log p of the tokens at `positions` (1 or more), in nats, float32 on the CPU.

    residual, start: the stream entering block `start`, where it is known, so that earlier blocks need not run again.
    """
    x = tokens if residual is None else residual
    before = positions.cpu() - 1
    wanted = tokens[:, positions.to(tokens.device)]
    if not can_read_narrowly(model):
        rows = zip(x.split(1), wanted.split(1))
        return torch.cat([_losses(run(model, row, start)[:, before], target) for row, target in rows])
    final = run(model, x, start, stop=int(model.cfg.n_layers))
    width = max(1, LOGIT_BYTES // (4 * len(tokens) * int(model.cfg.d_vocab)))
    pieces = []
    for some, targets in zip(before.split(width), wanted.split(width, dim=1)):
        logits = read_out(model, final, Readout(some.expand(len(tokens), -1), None))
        pieces.append(_losses(logits.unflatten(1, (len(some), -1)), targets))
    return torch.cat(pieces, dim=1)


def _losses(
    logits: Float[Tensor, "batch predicted vocab"], targets: Int[Tensor, "batch predicted"]
) -> Float[Tensor, "batch predicted"]:
    picked = logits.float().log_softmax(-1).gather(-1, targets.to(logits.device)[..., None])
    return -picked.squeeze(-1).cpu()
