"""Latents of a dictionary as sites like any other.

A codec turns an activation into latents and back: a sparse autoencoder, a transcoder, a rotation, a probe's
coordinates. `LatentSite` puts one at a site, and `capture` and `intervene` then treat its latents as an activation of
the model; nothing here knows what trained it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from interp.errors import InputError
from interp.hooks.sites import Site, as_site


@runtime_checkable
class Codec(Protocol):
    """Encodes the activation at `reads` and decodes latents to what belongs at `writes`.

    reads and writes are kinds of sites ("resid_post"; a transcoder reads "mlp_in" and writes "mlp_out").
    """

    reads: str
    writes: str

    def encode(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch latent"]:
        """Latents of an activation."""
        ...

    def decode(self, latents: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch d_out"]:
        """The activation that latents stand for."""
        ...


@dataclass(frozen=True, eq=False)
class LatentSite:
    """The latents of a codec at one layer, [batch, pos, latent].

    site: where the codec reads. error: what becomes of the part of the activation that the codec does not reproduce
    when latents are written: "keep" adds the change of the decoded latents to the activation (unedited latents leave
    the model exactly as it was), "drop" puts the decoded latents in its place, in the rows and at the positions that
    the intervention names.
    """

    site: Site
    codec: Any
    error: Literal["keep", "drop"] = "keep"

    def __post_init__(self) -> None:
        if self.error not in ("keep", "drop"):
            raise InputError(f"error is 'keep' or 'drop', not {self.error!r}")
        reads = getattr(self.codec, "reads", self.site.kind)
        if reads != self.site.kind:
            raise InputError(f"this codec reads {reads!r}, not {self.site.kind!r}")

    @property
    def write_site(self) -> Site:
        """Where the decoded latents go."""
        return Site(getattr(self.codec, "writes", self.site.kind), self.site.layer)

    @property
    def pos_dim(self) -> int:
        """Latents count positions where their activation does."""
        return self.site.pos_dim

    @property
    def head_dim(self) -> None:
        """Latents have no heads."""
        return None

    @property
    def hook(self) -> str:
        """The hook point the codec reads."""
        return self.site.hook

    def __str__(self) -> str:
        return f"{self.site} latents"


def as_any_site(site: Site | LatentSite | str) -> Site | LatentSite:
    """A Site or LatentSite from either or from a hook's name."""
    return site if isinstance(site, LatentSite) else as_site(site)


def plain_site(site: Site | LatentSite) -> Site:
    """The site of the model that a (latent) site reads."""
    return site.site if isinstance(site, LatentSite) else site
