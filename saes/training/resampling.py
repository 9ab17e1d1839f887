"""Resampling dead latents (Bricken et al. 2023, appendix "Neuron resampling"): they start anew where the loss is large.

A dead latent's direction becomes that of an activation that is badly reconstructed; its encoder the same, at a fifth of
the living encoders' mean length; its bias zero; and Adam forgets it.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from saes.architectures import JumpReLUDictionary, TopK
from saes.training.engine import Engine

SHARE_OF_LENGTH = 0.2
"""Length of a new encoder row over the mean one of living latents. Where latents compete for k places it is 1: a short
one would never win."""


@torch.no_grad()
def resample(engine: Engine, x: Float[Tensor, "tokens d_in"], seed: int) -> int:
    """Start dead latents anew from tokens of `x`, drawn in proportion to the square of their squared error.

    As many as `x` has tokens at most. Returns how many. The draw follows from `seed` and the number of steps done.
    """
    engine.list_dead()
    dead = engine.dead[: len(x)]
    if not len(dead):
        return 0
    d = engine.dictionary
    out = d(x)
    loss = (x - out.reconstruction).square().sum(1)
    generator = torch.Generator().manual_seed((seed * 1_000_003 + engine.n_steps) % 2**63)
    weights = (loss.double() / loss.max().clamp_min(1e-30)).square().cpu() + 1e-12
    drawn = torch.multinomial(weights, len(dead), replacement=False, generator=generator)
    directions = torch.nn.functional.normalize(x[drawn.to(x.device)] - d.b_dec, dim=1)
    living = torch.ones(d.d_sae, dtype=torch.bool, device=dead.device)
    living[engine.dead] = False
    length = d.encoder[living].norm(dim=1).mean() if living.any() else d.encoder.new_ones(())
    share = 1.0 if isinstance(d.config, TopK) else SHARE_OF_LENGTH
    d.decoder[dead] = directions
    d.encoder[dead] = directions * (share * length)
    d.b_enc[dead] = 0
    if isinstance(d, JumpReLUDictionary):
        # At their old thresholds latents with short encoders would stay dead.
        d.threshold[dead] = SHARE_OF_LENGTH * d.threshold[living].mean() if living.any() else 0.0
    engine.restart(dead)
    return len(dead)
