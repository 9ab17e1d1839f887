"""Input normalisation: training on centred and scaled activations, folded away when a dictionary is saved.

A dictionary trained on (x − μ) T reconstructs (x − μ) T. With T and μ moved into its encoder and decoder it takes x and
gives x̂, so nobody who uses it has to know. Centring matters: dead latents follow the ratio of the activations' mean to
their spread.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import InputError, unknown
from saes.architectures.dictionary import Dictionary

KINDS = ("none", "mean", "norm", "mean-norm", "whiten")
ROUNDING = 1e-13
"""Share of the mean square below which a variance is what rounding leaves over."""
RIDGE = 1e-3
"""Share of the mean variance added to every direction's before whitening, so that empty directions are not blown up."""


@dataclass(frozen=True, eq=False)
class Normalisation:
    """x ↦ (x − mean) · scale, or (x − mean) @ matrix where there is one.

    mean [d_in]. scale: a positive number. matrix, inverse [d_in, d_in], for whitening.
    """

    mean: Float[Tensor, " d_in"]
    scale: float = 1.0
    matrix: Float[Tensor, "d_in d_in"] | None = None
    inverse: Float[Tensor, "d_in d_in"] | None = None

    def apply(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_in"]:
        """Normalise activations."""
        centred = x.float() - self.mean.to(x.device)
        return centred * self.scale if self.matrix is None else centred @ self.matrix.to(x.device)

    @torch.no_grad()
    def fold_into(self, dictionary: Dictionary) -> Dictionary:
        """The plain inference form of a dictionary trained on normalised activations, for activations as they are."""
        made = dictionary.clone()
        mean = self.mean.to(made.decoder.device)
        into, out_of = self._matrices(made.decoder)
        if not made.config.apply_b_dec_to_input:
            made.b_enc.sub_((mean @ into) @ made.encoder.T)
        made.encoder.copy_(made.encoder @ into.T)
        made.decoder.copy_(made.decoder @ out_of)
        made.b_dec.copy_(made.b_dec @ out_of + mean)
        if self.matrix is not None:
            if dictionary.config.decoder_norm == "free":
                raise InputError("whitened activations are for dictionaries with decoder_norm 'unit'")
            made.config = replace(made.config, decoder_norm="any")
            return made.fold()
        if dictionary.config.decoder_norm == "unit":
            return _with_activations_in_input_units(made, 1 / self.scale).fold()
        return made.fold()

    @torch.no_grad()
    def unfold_into(self, given: Dictionary, target: Dictionary) -> None:
        """Give `target`, which sees normalised activations, the weights of a dictionary for activations as they are."""
        if self.matrix is not None:
            raise InputError("a warm start cannot be combined with whitening; use normalise: mean-norm")
        if not (given.config.apply_b_dec_to_input and target.config.apply_b_dec_to_input):
            raise InputError("a warm start needs apply_b_dec_to_input: true on both sides")
        target.encoder.copy_(given.encoder)
        target.decoder.copy_(given.decoder)
        target.b_enc.copy_(given.b_enc * self.scale)
        target.b_dec.copy_((given.b_dec - self.mean.to(given.b_dec)) * self.scale)
        own, other = getattr(target, "threshold", None), getattr(given, "threshold", None)
        if own is not None and other is not None:
            own.copy_(other * self.scale if own.ndim else other.mean() * self.scale)

    def _matrices(self, like: Tensor) -> tuple[Tensor, Tensor]:
        if self.matrix is None or self.inverse is None:
            eye = torch.eye(like.shape[1], device=like.device, dtype=like.dtype)
            return eye * self.scale, eye / self.scale
        return self.matrix.to(like), self.inverse.to(like)


def _with_activations_in_input_units(dictionary: Dictionary, factor: float) -> Dictionary:
    """Directions of length `factor` made unit ones, the factor moved into activations and thresholds."""
    dictionary.decoder.div_(factor)
    dictionary.encoder.mul_(factor)
    dictionary.b_enc.mul_(factor)
    threshold = getattr(dictionary, "threshold", None)
    if threshold is not None:
        threshold.mul_(factor)
    return dictionary


@torch.no_grad()
def fit_normalisation(
    kind: str, mean: Float[Tensor, " d_in"], second_moment: Float[Tensor, "d_in d_in"] | Float[Tensor, " d_in"]
) -> Normalisation:
    """The normalisation of a kind, from E[x] and E[x xᵀ] (or its diagonal, where there is no whitening).

    none: nothing. mean: centre. norm: scale so that E‖x‖² = d_in. mean-norm: centre, then E‖x − μ‖² = d_in. whiten:
    centre, then unit variance in every direction (ZCA, with a small ridge). Raises InputError for another kind.
    """
    if kind not in KINDS:
        raise unknown("normalisation", kind, KINDS)
    mean, second_moment = mean.double(), second_moment.double()
    d_in = len(mean)
    centre = torch.zeros_like(mean) if kind in ("none", "norm") else mean
    if kind == "whiten":
        if second_moment.ndim != 2:
            raise InputError("whitening needs the full second moment, not its diagonal")
        return _whitening(mean, second_moment)
    diagonal = second_moment.diagonal() if second_moment.ndim == 2 else second_moment
    power = float((diagonal - 2 * centre * mean + centre.square()).sum())
    # Activations that do not vary leave a power of rounding alone, which no scale makes anything of.
    varies = power > ROUNDING * float(diagonal.sum())
    scale = (d_in / power) ** 0.5 if kind in ("norm", "mean-norm") and varies else 1.0
    return Normalisation(centre.float(), scale)


def _whitening(mean: Tensor, second_moment: Tensor) -> Normalisation:
    values, vectors = torch.linalg.eigh(second_moment - torch.outer(mean, mean))
    if float(values.sum()) <= ROUNDING * float(second_moment.diagonal().sum()):
        raise InputError("activations that do not vary cannot be whitened; look at them first, or choose 'mean-norm'")
    spread = values.clamp_min(0) + RIDGE * values.clamp_min(0).mean()
    into = (vectors / spread.sqrt()) @ vectors.T
    out_of = (vectors * spread.sqrt()) @ vectors.T
    return Normalisation(mean.float(), 1.0, into.float(), out_of.float())
