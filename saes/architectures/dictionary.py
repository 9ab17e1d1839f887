"""`Dictionary`: a model's activations as sparse sums of learned directions; what all architectures share.

h = (x − b_dec) W_enc + b_enc        pre-activations, [..., d_sae]
f = latents that are active, the others zero; which are active is what an architecture decides
x̂ = f W_dec + b_dec
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from interp.errors import InputError
from saes.kernels.support import SparseSupport, from_entries
from saes.plain_values import check_values

DECODER_NORMS = ("unit", "free", "any")


class Output(NamedTuple):
    """What a dictionary makes of activations.

    reconstruction [..., d_in]. latents [..., d_sae]: how strongly each is active, zero where it is not.
    pre_activations [..., d_sae]: before the choice of what is active.
    """

    reconstruction: Float[Tensor, "*batch d_in"]
    latents: Float[Tensor, "*batch d_sae"]
    pre_activations: Float[Tensor, "*batch d_sae"]


@dataclass(frozen=True)
class DictionaryConfig:
    """What every architecture has to be told."""

    architecture: ClassVar[str] = ""

    d_in: int
    """Width of the activations."""
    d_sae: int
    """Number of latents."""
    apply_b_dec_to_input: bool = True
    """Subtract the decoder's bias from the input before encoding."""
    decoder_norm: str = "unit"
    """unit: every latent's direction has length 1 throughout training. free: lengths are learned, latents compete by
    activation times length, and the lengths fold into the encoder on saving. any: lengths are what they are and latents
    compete by activation alone (what a dictionary of whitened activations folds into; not for training)."""

    def __post_init__(self) -> None:
        check_values(self)
        for name in ("d_in", "d_sae"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is a number of dimensions, at least 1, not {getattr(self, name)}")
        if self.decoder_norm not in DECODER_NORMS:
            raise InputError(f"decoder_norm is 'unit', 'free' or 'any', not {self.decoder_norm!r}")

    def check_trainable(self) -> None:
        """Raise InputError for a dictionary that only folding makes."""
        if self.decoder_norm == "any":
            raise InputError("decoder_norm 'any' is for folded dictionaries; train with 'unit' or 'free'")

    def build(self, generator: torch.Generator | None = None) -> Dictionary:
        """The dictionary with random directions, drawn from `generator`; the encoder is the decoder's transpose."""
        raise NotImplementedError

    def label(self) -> str:
        """A short name: architecture, width, and what sets how sparse it is."""
        return f"{self.architecture}-{self.d_sae}"

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain values, with the architecture's name."""
        return {"architecture": self.architecture, **asdict(self)}


class Dictionary(nn.Module):
    """Directions, a way into them and a way back.

    encoder, decoder [d_sae, d_in]: a row for each latent (`W_enc` and `W_dec` in the field's orientation). b_enc
    [d_sae], b_dec [d_in]: biases. config: a `DictionaryConfig`. metadata: where the dictionary comes from, as plain
    values, kept on saving. Also a codec for `interp.LatentSite`: it has `encode` and `decode`.
    """

    def __init__(self, config: DictionaryConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.metadata: dict[str, Any] = {}
        directions = torch.randn(config.d_sae, config.d_in, generator=generator)
        directions /= directions.norm(dim=1, keepdim=True)
        self.decoder = nn.Parameter(directions)
        self.encoder = nn.Parameter(directions.clone())
        self.b_enc = nn.Parameter(torch.zeros(config.d_sae))
        self.b_dec = nn.Parameter(torch.zeros(config.d_in))

    @property
    def d_in(self) -> int:
        """Width of the activations."""
        return self.config.d_in

    @property
    def d_sae(self) -> int:
        """Number of latents."""
        return self.config.d_sae

    @property
    def W_enc(self) -> Float[Tensor, "d_in d_sae"]:
        """The encoder's weight."""
        return self.encoder.T

    @property
    def W_dec(self) -> Float[Tensor, "d_sae d_in"]:
        """The decoder's weight: each latent's direction."""
        return self.decoder

    def pre_activations(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_sae"]:
        """h: what the encoder says before the choice of what is active."""
        self._check(x)
        centred = x - self.b_dec if self.config.apply_b_dec_to_input else x
        return nn.functional.linear(centred, self.encoder, self.b_enc)

    def active(self, pre_activations: Float[Tensor, "*batch d_sae"]) -> Bool[Tensor, "*batch d_sae"]:
        """Which latents are active, given h."""
        raise NotImplementedError

    def support(self, pre_activations: Float[Tensor, "*batch d_sae"]) -> SparseSupport:
        """Which latents are active, given h: `active` as indices, a row for each token (leading axes flattened).

        `columns` are the active latents, token after token and ascending within one; those of token i stand at
        offsets[i]:offsets[i + 1]. `pick(h)` gives their values and `decode(values, W_dec)` what they write.
        """
        mask = self.active(pre_activations).reshape(-1, self.d_sae)
        rows, columns = mask.nonzero(as_tuple=True)
        return from_entries(rows, columns, *mask.shape)

    def encode(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_sae"]:
        """The latents of activations: h where active, zero elsewhere."""
        return self(x).latents

    def decode(self, latents: Float[Tensor, "*batch d_sae"]) -> Float[Tensor, "*batch d_in"]:
        """The activations that latents stand for."""
        return latents @ self.decoder + self.b_dec

    def forward(self, x: Float[Tensor, "*batch d_in"]) -> Output:
        """Encode and decode."""
        h = self.pre_activations(x)
        latents = torch.where(self.active(h), h, torch.zeros_like(h))
        return Output(self.decode(latents), latents, h)

    def competing(self, pre_activations: Float[Tensor, "*batch d_sae"]) -> Float[Tensor, "*batch d_sae"]:
        """What latents are compared by: h, times the length of their directions where that is learned."""
        if self.config.decoder_norm != "free":
            return pre_activations
        # Lengths in h's own precision: with float32 ones a product in bfloat16 would be copied whole.
        return pre_activations * self.decoder.detach().norm(dim=1).to(pre_activations.dtype)

    @torch.no_grad()
    def fold(self) -> Dictionary:
        """The same map in its plain inference form: unit directions, no behaviour that only training has."""
        raise NotImplementedError

    @torch.no_grad()
    def _plain(self, config: DictionaryConfig) -> tuple[Dictionary, Float[Tensor, " d_sae"]]:
        """A dictionary of `config` with these weights, and the lengths of directions that moved into its encoder."""
        scale = torch.ones(self.d_sae, device=self.decoder.device)
        if self.config.decoder_norm != "any":
            lengths = self.decoder.norm(dim=1)
            # A direction of length zero writes nothing, whatever it is active by.
            scale = torch.where(lengths > 0, lengths, scale)
            config = replace(config, decoder_norm="unit")
        plain = config.build().to(self.decoder.device, self.decoder.dtype)
        plain.decoder.copy_(self.decoder / scale[:, None])
        plain.encoder.copy_(self.encoder * scale[:, None])
        plain.b_enc.copy_(self.b_enc * scale)
        plain.b_dec.copy_(self.b_dec)
        plain.metadata = dict(self.metadata)
        return plain, scale

    def save(self, path: str | Path) -> Path:
        """Write the dictionary's folded form to a directory, in SAELens's layout; `saes.load` reads it."""
        from saes.formats.native import write  # formats build dictionaries: they come after them

        return write(self, Path(path))

    def _check(self, x: Tensor) -> None:
        if x.shape[-1] != self.d_in:
            raise InputError(
                f"this dictionary takes activations of width {self.d_in}, these have {x.shape[-1]}; "
                f"it was made for {self.metadata.get('hook_name', 'another site')}"
            )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={value}' for key, value in asdict(self.config).items())})"

    def clone(self) -> Dictionary:
        """A copy that shares nothing."""
        copy = type(self)(self.config)
        copy.load_state_dict(self.state_dict())
        copy.metadata = dict(self.metadata)
        return copy.to(self.decoder.device)
