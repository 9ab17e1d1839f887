"""Activations of examples at many sites, a batch of prompts at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import InputError
from interp.hooks import sites as site_names
from interp.hooks.capturing import capture
from interp.hooks.latents import LatentSite, as_any_site, plain_site
from interp.hooks.sites import ATTENTION_KINDS, KINDS, Site
from interp.probing.labelled import LabelledTokens

AnySite = Site | LatentSite
Sites = str | Sequence[str | AnySite] | AnySite
PASS_TOKENS = 4096


@dataclass(frozen=True, eq=False)
class Kind:
    """Sites of one kind, one a layer."""

    name: str
    layers: tuple[int, ...]
    sites: tuple[AnySite, ...]


def check_model(model: Any) -> None:
    """Refuse what is no model, such as the name of one."""
    if not hasattr(model, "cfg"):
        raise InputError(f"a {type(model).__name__} is no model; load one with interp.load_model(name)")


def kinds_of(model: Any, wanted: Sites, layers: Sequence[int] | None) -> list[Kind]:
    """The sites that were asked for, by kind.

    wanted: names of kinds ("resid_post", "z"), each at all `layers` (default: all of the model's); or sites themselves.
    Raises InputError for sites that the model lacks or that have no features by token.
    """
    asked = [wanted] if isinstance(wanted, str | Site | LatentSite) else list(wanted)
    if not asked:
        raise InputError("no sites were given; name at least one kind, such as 'resid_post'")
    check_model(model)
    where = list(range(int(model.cfg.n_layers))) if layers is None else list(layers)
    if not all(isinstance(layer, Integral) for layer in where):
        raise InputError(f"layers are whole numbers, and {where} are not")
    if not where:
        raise InputError("layers is empty; name at least one, or leave it out for all")
    found: dict[str, dict[int, AnySite]] = {}
    for item in asked:
        sites = (
            [Site(item, layer) for layer in where] if isinstance(item, str) and item in KINDS else [as_any_site(item)]
        )
        for site in sites:
            plain = plain_site(site)
            site_names.check(model, plain)
            if plain.kind in ATTENTION_KINDS or plain.layer is None:
                raise InputError(f"a probe reads features of a token in a layer, and {plain.kind!r} has none")
            name = plain.kind if isinstance(site, Site) else f"{plain.kind} latents"
            found.setdefault(name, {})[plain.layer] = site
    return [Kind(name, tuple(sorted(by)), tuple(by[layer] for layer in sorted(by))) for name, by in found.items()]


def width(model: Any, site: AnySite) -> int:
    """Features of a token at a site; of latents the number that the codec states, or that of the site."""
    if isinstance(site, LatentSite):
        return int(getattr(site.codec, "d_sae", 0)) or 4 * int(model.cfg.d_model)
    sizes = [size for size in site_names.shape(model, site).values() if size is not None]
    return int(torch.tensor(sizes).prod())


def gather(
    model: Any, data: LabelledTokens, sites: Sequence[AnySite], batch_size: int | None = None
) -> Float[Tensor, "position site example feature"]:
    """Activations of every example at every site and named position, float32 on the CPU; heads are concatenated.

    batch_size: prompts a forward pass. Only prompts that hold examples are run.
    """
    used, which = data.rows.unique(return_inverse=True)
    step = batch_size or max(1, PASS_TOKENS // data.tokens.shape[1])
    out: Tensor | None = None
    plain = data.tokens.as_subclass(Tensor)
    for begin in range(0, len(used), step):
        prompts = plain[used[begin : begin + step].to(plain.device)]
        here = ((which >= begin) & (which < begin + step)).nonzero()[:, 0]
        longest = max(int(at[here].max()) for at in data.positions.values()) + 1  # nothing after it is looked at
        found = capture(model, prompts[:, :longest], list(sites))
        for i, site in enumerate(sites):
            values = found[site].flatten(2)
            for j, at in enumerate(data.positions.values()):
                picked = values[(which[here] - begin).to(values.device), at[here].to(values.device)]
                if out is None:
                    out = torch.empty(len(data.positions), len(sites), len(data), picked.shape[-1])
                out[j, i, here] = picked.float().cpu()
    assert out is not None
    return out
