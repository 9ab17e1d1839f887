"""What the architectures' gradients are made of: the encoder's product, and the way back through it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from saes.architectures.dictionary import Dictionary
from saes.kernels.support import Support


@dataclass
class Gradients:
    """The loss's gradients by parameter; threshold is None where an architecture learns none."""

    encoder: Float[Tensor, "d_sae d_in"]
    b_enc: Float[Tensor, " d_sae"]
    decoder: Float[Tensor, "d_sae d_in"]
    b_dec: Float[Tensor, " d_in"]
    threshold: Float[Tensor, " d_sae"] | None = None


class Found(NamedTuple):
    """What a pass over one batch found.

    gradients. support and activations: which latents were active and how strongly, in the support's layout; entries
    that are not active hold zero. squared_error, penalty: parts of the loss, scalars on the device. residual
    [tokens, d_in]: reconstruction less input.
    """

    gradients: Gradients
    support: Support
    activations: Tensor
    squared_error: Float[Tensor, ""]
    penalty: Float[Tensor, ""]
    residual: Float[Tensor, "tokens d_in"]


class Encoded(NamedTuple):
    """A batch on its way in: x, x less b_dec where that is subtracted, and h (in the encoder's precision)."""

    x: Float[Tensor, "tokens d_in"]
    centred: Float[Tensor, "tokens d_in"]
    h: Float[Tensor, "tokens d_sae"]


class Decoded(NamedTuple):
    """Activations on their way out: reconstruction less x, the loss's gradient there, and the squared error."""

    residual: Float[Tensor, "tokens d_in"]
    upstream: Float[Tensor, "tokens d_in"]
    squared_error: Float[Tensor, ""]


def decode(dictionary: Dictionary, x: Tensor, support: Support, activations: Tensor) -> Decoded:
    """The reconstruction's error, and what the squared error asks of the reconstruction."""
    residual = support.decode(activations, dictionary.decoder).add_(dictionary.b_dec).sub_(x)
    return Decoded(residual, residual * (2 / len(x)), residual.square().sum() / len(x))


def way_back(
    dictionary: Dictionary,
    encoded: Encoded,
    support: Support,
    pre_activation_gradient: Tensor,
    decoder_gradient: Float[Tensor, "d_sae d_in"],
    output_gradient: Float[Tensor, " d_in"],
) -> Gradients:
    """All gradients, given those of h on the support, of the decoder, and of the reconstruction summed over tokens.

    b_dec also enters through the encoder's input: − W_enc · (what b_enc feels), a product of a matrix and a vector.
    """
    b_enc = support.column_sums(pre_activation_gradient)
    b_dec = output_gradient
    if dictionary.config.apply_b_dec_to_input:
        b_dec = b_dec - b_enc @ dictionary.encoder
    encoder = support.gather(pre_activation_gradient, encoded.centred)
    return Gradients(encoder, b_enc, decoder_gradient, b_dec)


def along_the_sphere(dictionary: Dictionary, gradients: Gradients, radial: Float[Tensor, " d_sae"]) -> None:
    """Take out of the decoder's gradient, in place, what would only change the length of unit directions.

    radial: <gradient_j, W_dec,j>, which is Σ_i f_ij ∂L/∂f_ij: known from the support without another pass.
    """
    if dictionary.config.decoder_norm == "unit":
        gradients.decoder.addcmul_(dictionary.decoder, radial[:, None], value=-1)


def zero(like: Tensor) -> Float[Tensor, ""]:
    """No penalty."""
    return torch.zeros((), device=like.device)
