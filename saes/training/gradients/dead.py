"""Losses that only dead latents feel, which bring them back to life; computed on their columns alone.

AuxK (Gao et al. 2024, appendix A.2): the dead latents with the largest pre-activations reconstruct what the living ones
left over. Pre-activation loss (Anthropic, January 2025 update): dead latents are pulled towards their thresholds.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saes.architectures.dictionary import Dictionary
from saes.training.gradients.terms import Encoded, Found


def add_aux_k(
    dictionary: Dictionary, encoded: Encoded, found: Found, dead: Int[Tensor, " dead"], aux_k: int, coefficient: float
) -> Float[Tensor, ""]:
    """Add the gradients of coefficient · mean over tokens of ‖e − ê‖² in place; returns that loss.

    e: what the reconstruction leaves over, held fixed. ê: its reconstruction by the aux_k dead latents with the largest
    h of each token. With fewer dead latents than aux_k the loss counts less, in proportion.
    """
    n_tokens = len(encoded.x)
    h = encoded.h[:, dead].float()
    if len(dead) > aux_k:
        kept = torch.zeros_like(h).scatter_(1, h.topk(aux_k, dim=1, sorted=False).indices, 1.0)
        values = h.relu() * kept
    else:
        coefficient *= len(dead) / aux_k
        values = h.relu()
    directions = dictionary.decoder[dead]
    # ê − e, with e = −residual.
    miss = values @ directions + found.residual
    upstream = miss * (2 * coefficient / n_tokens)
    change = (upstream @ directions.T) * (values > 0)
    of_directions = values.T @ upstream
    if dictionary.config.decoder_norm == "unit":
        of_directions -= directions * (of_directions * directions).sum(1, keepdim=True)
    gradients = found.gradients
    gradients.decoder.index_add_(0, dead, of_directions)
    _into_encoder(dictionary, encoded, found, dead, change)
    return coefficient * miss.square().sum() / n_tokens


def add_pre_activation_loss(
    dictionary: Dictionary, encoded: Encoded, found: Found, dead: Int[Tensor, " dead"], coefficient: float
) -> Float[Tensor, ""]:
    """Add the gradients of coefficient · mean over tokens of Σ over dead j of relu(θ_j − h_j) ‖W_dec,j‖ in place.

    Lengths are held fixed. Returns that loss.
    """
    assert found.gradients.threshold is not None
    n_tokens = len(encoded.x)
    threshold = dictionary.get_parameter("threshold")[dead]
    lengths = dictionary.decoder[dead].norm(dim=1)
    gap = (threshold - encoded.h[:, dead].float()).relu()
    pull = (gap > 0) * (lengths * (coefficient / n_tokens))
    found.gradients.threshold.index_add_(0, dead, pull.sum(0))
    _into_encoder(dictionary, encoded, found, dead, -pull)
    return coefficient * (gap * lengths).sum() / n_tokens


def _into_encoder(
    dictionary: Dictionary, encoded: Encoded, found: Found, dead: Int[Tensor, " dead"], change: Tensor
) -> None:
    """Add what the dead columns of h feel to the encoder's gradients."""
    gradients = found.gradients
    gradients.encoder.index_add_(0, dead, change.T @ encoded.centred)
    of_bias = change.sum(0)
    gradients.b_enc.index_add_(0, dead, of_bias)
    if dictionary.config.apply_b_dec_to_input:
        gradients.b_dec.sub_(of_bias @ dictionary.encoder[dead])
