"""Writing activations: `intervene` carries out interventions while the model runs, and leaves nothing behind.

Order: across sites, as the model computes; at one site, in the order the interventions are given, each seeing what the
earlier ones made. Nested `intervene` blocks act as if the outer one's interventions were given first.

Named positions and groups are those of the tokens that run, where they say (`model(task.clean)`), else those of
`task=`, else those of the reference.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from interp.errors import InputError
from interp.hooks.capturing import TELLING_ROWS_APART
from interp.hooks.interventions import Intervention
from interp.hooks.latents import LatentSite, plain_site
from interp.hooks.partial import hooked
from interp.hooks.prompts import PromptTokens
from interp.hooks.references import Here
from interp.hooks.selecting import last_position, selection_mask
from interp.hooks.sites import check, hook_point


@contextlib.contextmanager
def intervene(model: Any, *interventions: Intervention | Iterable[Intervention], task: Any = None) -> Iterator[None]:
    """Carry out interventions on every forward pass of the model inside the `with` block, generation included.

    interventions: what `interp.ablate`, `patch`, `steer`, ... return, and lists of them. task: the task (or its token
    tensor) whose named positions and groups are meant, where the tokens that run do not say. Positions are absolute,
    also while generating with a cache; none given means every position, so every new token. Raises InputError before
    anything runs for a site or head the model does not have; hooks are removed whatever happens.
    """
    prompts = getattr(task, "clean", task)
    if prompts is not None and not isinstance(prompts, PromptTokens):
        raise InputError("task= takes a task or its token tensor (task.clean)")
    ready = [item.on_model(model) if item.on_model else item for item in _flat(interventions)]
    for item in ready:
        if isinstance(item.site, LatentSite) and item.heads is not None:
            raise InputError("latents have no heads; choose some of them with units=, or leave heads out")
        check(model, plain_site(item.site), item.heads)
    position = _Position()
    with contextlib.ExitStack() as stack:
        stack.enter_context(position.watching(model))
        stack.enter_context(_telling_rows_apart(model, ready))
        for item in ready:
            item = item if prompts is None else replace(item, prompts=prompts)
            for site, function in _hooks_of(item, position):
                stack.enter_context(hooked(hook_point(model, site), function))
        yield
    for message in _positions_never_reached(ready, position):
        warnings.warn(message, stacklevel=3)  # where the `with` block ends


@contextlib.contextmanager
def _telling_rows_apart(model: Any, items: list[Intervention]) -> Iterator[None]:
    labels = TELLING_ROWS_APART.setdefault(model, [])
    added = [item.label for item in items if item.tells_rows_apart]
    labels.extend(added)
    try:
        yield
    finally:
        del labels[len(labels) - len(added) :]


def _positions_never_reached(items: list[Intervention], position: _Position) -> Iterator[str]:
    """A position past the end of every prompt is fine while generating, and a mistake otherwise."""
    for item in items:
        last = max(last_position(item.positions), last_position(item.keys))
        if last >= position.reached > 0:
            yield f"{item.label}: position {last} was never reached, the longest run had {position.reached}"


def _flat(items: Iterable[Any]) -> Iterator[Intervention]:
    for item in items:
        if isinstance(item, Intervention):
            yield item
        elif isinstance(item, Iterable) and not isinstance(item, str):
            yield from _flat(item)
        else:
            raise InputError(f"an intervention is what interp.ablate and its siblings return, not {item!r}")


class _Position:
    """What a forward pass is about: the absolute position of its first token, and whose prompts run.

    offset: positions in the key/value cache. reached: the furthest position of any pass, plus one. prompts: the tokens
    that run, where they know their prompts.
    """

    def __init__(self) -> None:
        self.offset = 0
        self.reached = 0
        self.prompts: PromptTokens | None = None

    @contextlib.contextmanager
    def watching(self, model: Any) -> Iterator[None]:
        def look(module: Any, args: Any, keywords: dict[str, Any]) -> None:
            cache = keywords.get("past_key_values")
            self.offset = int(cache.get_seq_length()) if cache is not None else 0
            tokens = args[0] if args else keywords.get("input_ids")
            self.prompts = tokens if isinstance(tokens, PromptTokens) else None

        handle = model.original_model.register_forward_pre_hook(look, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()

    def prompts_of(self, item: Intervention) -> PromptTokens | None:
        """The prompts whose names and groups an intervention means."""
        if self.prompts is None or item.prompts is None:
            return item.prompts if self.prompts is None else self.prompts
        named = self.prompts.positions or set(self.prompts.groups) != {"all"}
        return self.prompts if named or item.prompts.shape[0] != self.prompts.shape[0] else item.prompts


def _hooks_of(item: Intervention, position: _Position) -> list[tuple[Any, Any]]:
    """The hooks that carry out an intervention: one, or two for a codec that writes elsewhere than it reads."""
    if not isinstance(item.site, LatentSite):
        return [(item.site, lambda value: _applied(item, value, position))]
    site = item.site
    if site.write_site == site.site:

        def rewrite(value: Tensor) -> Tensor:
            latents = site.codec.encode(value)
            return _written(item, site, value, latents, _applied(item, latents, position), position)

        return [(site.site, rewrite)]
    carried: list[tuple[Tensor, Tensor]] = []

    def read(value: Tensor) -> None:
        latents = site.codec.encode(value)
        carried[:] = [(latents, _applied(item, latents, position))]

    def write(value: Tensor) -> Tensor:
        if not carried:
            raise InputError(f"this codec writes at {site.write_site} before it has read at {site.site}; swap them")
        latents, edited = carried.pop()
        return _written(item, site, value, latents, edited, position)

    return [(site.site, read), (site.write_site, write)]


def _written(
    item: Intervention, site: LatentSite, value: Tensor, latents: Tensor, edited: Tensor, position: _Position
) -> Tensor:
    """The activation after its latents were edited."""
    if site.error == "keep":
        # The difference first: unedited latents then change nothing, to the last bit.
        return value + (site.codec.decode(edited) - site.codec.decode(latents))
    decoded = site.codec.decode(edited)
    mask = _mask(replace(item, units=None), value, position)
    return decoded if mask is None else torch.where(mask, decoded, value)


def _applied(item: Intervention, value: Tensor, position: _Position) -> Tensor:
    """The activation with the intervention's values where its selection says so."""
    position.reached = max(position.reached, position.offset + value.shape[item.site.pos_dim])
    mask = _mask(item, value, position)
    prompts = position.prompts_of(item)
    here = Here(position.offset, prompts, _base_batch(item, prompts, value), mask)
    edited = item.edit(value, here)
    return edited if mask is None else torch.where(mask, edited, value)


def _base_batch(item: Intervention, prompts: PromptTokens | None, value: Tensor) -> int:
    """Prompts in the batch, of which a folded run holds several copies."""
    if isinstance(item.positions, Tensor) and item.positions.shape[0] == value.shape[0]:
        return value.shape[0]
    if prompts is None or value.shape[0] % prompts.shape[0] == 0:
        return value.shape[0] if prompts is None else prompts.shape[0]
    if item.names:
        raise InputError(f"the intervention refers to {prompts.shape[0]} prompts, the batch has {value.shape[0]}")
    return value.shape[0]


def _mask(item: Intervention, value: Tensor, position: _Position) -> Tensor | None:
    """Where the intervention applies, broadcastable to the activation; None for everywhere."""
    if item.positions is None and item.rows is None and item.heads is None and item.units is None:
        return None
    dim = item.site.pos_dim
    prompts = position.prompts_of(item)
    base = _base_batch(item, prompts, value)
    chosen = selection_mask(item.positions, item.rows, base, value.shape[dim], position.offset, prompts)
    chosen = chosen.repeat(value.shape[0] // base, 1).to(value.device)
    mask = chosen.view(chosen.shape[0], *[1] * (dim - 1), chosen.shape[1], *[1] * (value.ndim - dim - 1))
    for index, along in ((item.heads, item.site.head_dim), (item.units, value.ndim - 1)):
        if index is not None and along is not None:
            mask = mask & _one_of(list(index), value.shape[along], along, value)
    return mask


def _one_of(index: list[int], size: int, dim: int, value: Tensor) -> Tensor:
    wrong = [i for i in index if not -size <= i < size]
    if wrong:
        raise InputError(f"unit {wrong[0]} does not exist: there are {size}")
    chosen = torch.zeros(size, dtype=torch.bool, device=value.device)
    chosen[index] = True
    return chosen.view(*[1] * dim, size, *[1] * (value.ndim - dim - 1))
