"""Reading activations: `capture` runs the model to the last site asked for, and no further."""

from __future__ import annotations

import contextlib
import weakref
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
    `tokens` are the tokens they come from; `positions` the ones kept, Int[batch, kept], or None for all; `single`
    whether one was kept and its dimension dropped; `logits` the readout's values [batch, read] when asked for.
    """

    def __init__(
        self,
        values: dict[AnySite, Tensor],
        tokens: Tensor,
        positions: Tensor | None,
        logits: Tensor | None = None,
        single: bool = False,
    ) -> None:
        self._values = values
        self.tokens = tokens
        self.positions = positions
        self.logits = logits
        self.single = single

    def __getitem__(self, site: AnySite | str) -> Tensor:
        wanted = as_any_site(site)
        if wanted not in self._values:
            held = ", ".join(str(name) for name in list(self._values)[:8])
            raise InputError(f"{wanted} was not captured; captured are: {held}")
        return self._values[wanted]

    def get(self, site: Any, default: Any = None) -> Any:
        """What was captured at a site, or the default."""
        if site in self:
            return self[site]
        return default

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
    gradient of a metric at every site; at latents it is the effect of writing them with error="keep". batch_size: rows
    a forward pass (default: all at once).
    Inside `intervene`, what is read is what the interventions made of it. Raises InputError for a site the model does
    not have or does not reach, for gradients together with positions or several batches, and for several batches
    inside an intervention that tells rows apart.
    """
    wanted = [as_any_site(site) for site in ([sites] if isinstance(sites, Site | LatentSite | str) else sites)]
    if not wanted:
        raise InputError("no sites were given; name at least one, for example interp.sites.resid_post(5)")
    if not isinstance(tokens, Tensor):
        raise InputError("capture takes token ids; make them with interp.models.to_tokens(model, text, False)[None]")
    if tokens.ndim != 2 or tokens.is_floating_point() or tokens.numel() == 0:
        raise InputError(f"tokens must be integers [batch, pos], not {tokens.dtype} {tuple(tokens.shape)}")
    step = _rows_a_pass(model, tokens.shape[0], batch_size)
    if gradients and (positions is not None or step < tokens.shape[0]):
        raise InputError("gradients need whole activations in one pass; leave positions and batch_size out")
    prompts = tokens if isinstance(tokens, PromptTokens) else None
    keep = None if positions is None else position_index(positions, tokens.shape[0], tokens.shape[1], prompts)
    device = embedding_device(model)
    placed = tokens.to(device) if prompts is None else prompts.moved_to(device)
    pieces = []
    with torch.set_grad_enabled(gradients):
        for part in (slice(i, i + step) for i in range(0, tokens.shape[0], step)):
            rows = placed.rows(part) if isinstance(placed, PromptTokens) else placed[part]
            kept, read = None if keep is None else keep[part], None if readout is None else readout.rows(part)
            pieces.append(_capture_rows(model, rows, wanted, kept, read, gradients))
    values = {site: _joined([piece[0][site] for piece in pieces]) for site in wanted}
    single = keep is not None and _is_single(positions)
    if single:
        values = {site: value.squeeze(site.pos_dim) for site, value in values.items()}
    logits = None if readout is None else _joined([piece[1] for piece in pieces])
    return Activations(values, tokens, keep, logits, single)


# Labels of the interventions at work on a model that tell rows apart: a pass over some of the rows would mix them up.
TELLING_ROWS_APART: weakref.WeakKeyDictionary[Any, list[str]] = weakref.WeakKeyDictionary()


def _rows_a_pass(model: Any, n_rows: int, batch_size: int | None) -> int:
    if batch_size is not None and batch_size < 1:
        raise InputError(f"batch_size is the number of rows a forward pass, at least 1, not {batch_size}")
    step = min(batch_size or n_rows, n_rows)
    labels = TELLING_ROWS_APART.get(model)
    if step < n_rows and labels:
        raise InputError(f"{labels[0]!r} tells the rows apart; leave batch_size out, so that one pass has them all")
    return step


def _joined(pieces: Sequence[Any]) -> Tensor:
    return torch.cat(list(pieces)) if len(pieces) > 1 else pieces[0]


def _is_single(positions: Positions) -> bool:
    return isinstance(positions, int | str) or (isinstance(positions, Tensor) and positions.ndim == 1)


def _capture_rows(
    model: Any,
    tokens: Tensor,
    sites: list[AnySite],
    kept_positions: Tensor | None,
    readout: Readout | None,
    gradients: bool,
) -> tuple[dict[AnySite, Tensor], Tensor | None]:
    """One forward pass over some of the rows; without a readout, the hook that sees the last site ends it."""
    found: dict[AnySite, Tensor] = {}
    by_hook: dict[str, list[AnySite]] = {}
    for site in sites:
        by_hook.setdefault(plain_site(site).hook, []).append(site)
    missing = set(by_hook)

    def reader(name: str) -> Callable[[Tensor], Tensor | None]:
        def read(value: Tensor) -> Tensor | None:
            for site in by_hook[name]:
                if gradients:
                    found[site], value = _read_with_gradients(value, site)
                else:
                    found[site] = _read(value, site, kept_positions)
            missing.discard(name)
            if not missing and readout is None:
                raise StopForward
            return value if gradients else None

        return read

    logits = None
    with contextlib.ExitStack() as stack:
        for name, here in by_hook.items():
            stack.enter_context(hooked(hook_point(model, plain_site(here[0])), reader(name)))
        for site in sites if gradients else ():
            if isinstance(site, LatentSite) and site.write_site != site.site:
                stack.enter_context(hooked(hook_point(model, site.write_site), _writer(site, found)))
        # Without a readout this never unembeds: the last site ends the pass.
        with contextlib.suppress(StopForward):
            logits = run(model, tokens, readout=readout)
    if missing:
        raise InputError(f"this model never reaches {sorted(missing)[0]!r}; choose another site")
    return found, logits


def _read(value: Tensor, site: AnySite, keep: Tensor | None) -> Tensor:
    """What is kept of an activation, sharing no memory with it."""
    kept = value if keep is None else _at_positions(value, site.pos_dim, keep.to(value.device))
    if isinstance(site, LatentSite):
        kept = site.codec.encode(kept)
    shared = kept.untyped_storage().data_ptr() == value.untyped_storage().data_ptr()
    return kept.clone() if shared else kept


def _read_with_gradients(value: Tensor, site: AnySite) -> tuple[Tensor, Tensor]:
    """What is kept of an activation, and what goes on through the model (the same numbers, in the graph)."""
    if isinstance(site, LatentSite):
        # A leaf beside the stream: what lies before the latents keeps its whole gradient, in which the part that the
        # codec does not reproduce counts as well.
        with torch.no_grad():
            latents = site.codec.encode(value).detach().clone()
        latents.requires_grad_(True)
        return latents, _with_latents(value, site, latents) if site.write_site == site.site else value
    # The first copies become leaves, since the parameters ask for no gradients.
    value = value.clone() if value.requires_grad else value.detach().clone().requires_grad_(True)
    return value, value


def _writer(site: LatentSite, found: dict[AnySite, Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda value: _with_latents(value, site, found[site])


def _with_latents(value: Tensor, site: LatentSite, latents: Tensor) -> Tensor:
    """The same numbers, as if the latents had been written with error="keep"."""
    decoded = site.codec.decode(latents)
    return value + (decoded - decoded.detach())


def _at_positions(value: Tensor, dim: int, keep: Int[Tensor, "batch kept"]) -> Tensor:
    """The chosen positions of every row along `dim`."""
    index = keep.view(keep.shape[0], *[1] * (dim - 1), keep.shape[1], *[1] * (value.ndim - dim - 1))
    return value.gather(dim, index.expand(*value.shape[:dim], keep.shape[1], *value.shape[dim + 1 :]))
