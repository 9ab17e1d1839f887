"""Reading activations: `capture` runs the model to the last site asked for, and no further."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from interp.errors import InputError
from interp.hooks.latents import LatentSite, as_any_site, plain_site
from interp.hooks.partial import StopForward, embedding_device, hooked, run
from interp.hooks.prompts import PromptTokens
from interp.hooks.readout import Readout
from interp.hooks.selecting import Positions, position_index
from interp.hooks.sites import Site, hook_point

AnySite = Site | LatentSite


class Activations(Mapping[AnySite, Tensor]):
    """Captured activations by site: a read-only mapping that also answers to hook names.

    Values are [batch, pos, ...] (attention: [batch, head, query, key]), copies that share nothing with the model.
    `tokens` are the tokens they come from; `positions` the ones kept, Int[batch, kept], or None for all; `logits` the
    readout's values [batch, read] when one was asked for.
    """

    def __init__(
        self, values: dict[AnySite, Tensor], tokens: Tensor, positions: Tensor | None, logits: Tensor | None = None
    ) -> None:
        self._values = values
        self.tokens = tokens
        self.positions = positions
        self.logits = logits

    def __getitem__(self, site: AnySite | str) -> Tensor:
        wanted = as_any_site(site)
        if wanted not in self._values:
            held = ", ".join(str(name) for name in list(self._values)[:8])
            raise InputError(f"{wanted} was not captured; captured are: {held}")
        return self._values[wanted]

    def __contains__(self, site: object) -> bool:
        try:
            return as_any_site(site) in self._values  # type: ignore[arg-type]
        except InputError:
            return False

    def __iter__(self) -> Iterator[AnySite]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        shapes = ", ".join(f"{site}: {tuple(value.shape)}" for site, value in self._values.items())
        return f"Activations({shapes})"


def capture(
    model: Any,
    tokens: Int[Tensor, "batch pos"],
    sites: Sequence[AnySite | str] | AnySite | str,
    positions: Positions = None,
    *,
    readout: Readout | None = None,
    gradients: bool = False,
    batch_size: int | None = None,
) -> Activations:
    """Run the model on tokens until the last of the sites has been read, and return what passed there.

    tokens: right-padded; `task.clean` also brings lengths and named positions. positions: which to keep (see
    `interp.hooks.selecting`); a single one drops the position dimension; of attention the rows of those queries are
    kept. readout: also run to the end and keep these logits in `.logits`, [batch, read]. gradients: the values stay in
    the graph, so that `torch.autograd.grad(task.metric.score(acts.logits).sum(), list(acts.values()))` gives the
    gradient of a metric at every site. batch_size: rows a forward pass (default: all at once).
    Inside `intervene`, what is read is what the interventions made of it. Raises InputError for a site the model does
    not have or does not reach, and for gradients together with positions or several batches.
    """
    wanted = [as_any_site(site) for site in ([sites] if isinstance(sites, Site | LatentSite | str) else sites)]
    if not wanted:
        raise InputError("no sites were given; name at least one, for example interp.sites.resid_post(5)")
    if tokens.ndim != 2 or tokens.is_floating_point() or tokens.numel() == 0:
        raise InputError(f"tokens must be integers [batch, pos], not {tokens.dtype} {tuple(tokens.shape)}")
    step = batch_size or tokens.shape[0]
    if gradients and (positions is not None or step < tokens.shape[0]):
        raise InputError("gradients need whole activations in one pass; leave positions and batch_size out")
    prompts = tokens if isinstance(tokens, PromptTokens) else None
    keep = None if positions is None else position_index(positions, tokens.shape[0], tokens.shape[1], prompts)
    plain = tokens.as_subclass(Tensor).to(embedding_device(model))
    with torch.set_grad_enabled(gradients):
        pieces = [
            _capture_rows(model, plain[part], wanted, keep, part, readout, gradients)
            for part in (slice(i, i + step) for i in range(0, plain.shape[0], step))
        ]
    values = {site: _joined([piece[0][site] for piece in pieces]) for site in wanted}
    if keep is not None and _is_single(positions):
        values = {site: value.squeeze(site.pos_dim) for site, value in values.items()}
    logits = None if readout is None else _joined([piece[1] for piece in pieces])
    return Activations(values, tokens, keep, logits)


def _joined(pieces: Sequence[Any]) -> Tensor:
    return torch.cat(list(pieces)) if len(pieces) > 1 else pieces[0]


def _is_single(positions: Positions) -> bool:
    return isinstance(positions, int | str) or (isinstance(positions, Tensor) and positions.ndim == 1)


def _capture_rows(
    model: Any,
    tokens: Tensor,
    sites: list[AnySite],
    keep: Tensor | None,
    part: slice,
    readout: Readout | None,
    gradients: bool,
) -> tuple[dict[AnySite, Tensor], Tensor | None]:
    """One forward pass over some of the rows; without a readout, the hook that sees the last site ends it."""
    found: dict[AnySite, Tensor] = {}
    by_hook: dict[str, list[AnySite]] = {}
    for site in sites:
        by_hook.setdefault(plain_site(site).hook, []).append(site)
    missing = set(by_hook)
    kept_positions = None if keep is None else keep[part]

    def reader(name: str) -> Callable[[Tensor], Tensor | None]:
        def read(value: Tensor) -> Tensor | None:
            for site in by_hook[name]:
                found[site], value = _read(value, site, kept_positions, gradients)
            missing.discard(name)
            if not missing and readout is None:
                raise StopForward
            return value if gradients else None

        return read

    logits = None
    with contextlib.ExitStack() as stack:
        for name, here in by_hook.items():
            stack.enter_context(hooked(hook_point(model, plain_site(here[0])), reader(name)))
        # Without a readout this never unembeds: the last site ends the pass.
        with contextlib.suppress(StopForward):
            logits = run(model, tokens, readout=None if readout is None else readout.rows(part))
    if missing:
        raise InputError(f"this model never reaches {sorted(missing)[0]!r}; choose another site")
    return found, logits


def _read(value: Tensor, site: AnySite, keep: Tensor | None, gradients: bool) -> tuple[Tensor, Tensor]:
    """What is kept of an activation, and what goes on through the model (the same numbers)."""
    if gradients:
        # The first copies become leaves, since the parameters ask for no gradients.
        value = value.clone() if value.requires_grad else value.detach().clone().requires_grad_(True)
        if not isinstance(site, LatentSite):
            return value, value
        latents = site.codec.encode(value)
        decoded = site.codec.decode(latents)
        # Gradients reach the latents; the part the codec does not reproduce goes on as a constant.
        return latents, decoded + (value - decoded).detach()
    if keep is not None:
        kept = _at_positions(value, site.pos_dim, keep.to(value.device))
    else:
        kept = value if isinstance(site, LatentSite) else value.clone()
    return (site.codec.encode(kept) if isinstance(site, LatentSite) else kept), value


def _at_positions(value: Tensor, dim: int, keep: Int[Tensor, "batch kept"]) -> Tensor:
    """The chosen positions of every row along `dim`."""
    index = keep.view(keep.shape[0], *[1] * (dim - 1), keep.shape[1], *[1] * (value.ndim - dim - 1))
    return value.gather(dim, index.expand(*value.shape[:dim], keep.shape[1], *value.shape[dim + 1 :]))
