"""What an ablation puts in place, computed from a reference run: means, another prompt's values, the paired run's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from interp.errors import InputError
from interp.hooks.capturing import Activations, AnySite
from interp.hooks.prompts import PromptTokens, real_tokens

MeanOver = Literal["all", "position", "group"]
# A token whose norm is this many times the median is an attention sink, not a sample of the distribution.
OUTLIER_RATIO = 10.0


@dataclass(frozen=True, eq=False)
class Here:
    """Where in a run an edit is applied.

    offset: absolute position of the first token that is there (over 0 with a key/value cache); prompts: the tokens
    that names refer to; base_batch: prompts in the batch, of which the rows may hold several copies (run-major);
    mask: where the edit will apply, Bool broadcastable to the activation, when known.
    """

    offset: int
    prompts: PromptTokens | None
    base_batch: int
    mask: Tensor | None = None


Edit = Callable[[Tensor, Here], Tensor]


def reference_tokens(reference: Any) -> PromptTokens | None:
    """The prompts a reference was captured on, when it knows them."""
    tokens = getattr(reference, "tokens", None)
    return tokens if isinstance(tokens, PromptTokens) else None


def _values(reference: Any, site: AnySite, by_position: bool = True) -> Tensor:
    if isinstance(reference, Activations):
        if by_position and reference.positions is not None and not _single_position(reference):
            raise InputError("the reference holds only some positions; capture it at all of them, or at a single one")
        return reference[site]
    if isinstance(reference, Tensor):
        return reference
    raise InputError(f"a reference is what interp.capture returns, or a tensor, not {type(reference).__name__}")


def same_rows(reference: Any, site: AnySite) -> Edit:
    """Row i of the reference for row i of the run."""
    values = _values(reference, site)

    def edit(x: Tensor, here: Here) -> Tensor:
        if x.shape[0] % values.shape[0]:
            raise InputError(
                f"the reference has {values.shape[0]} rows, the run {x.shape[0]}; capture the same prompts"
            )
        return _aligned(values, x, here, site)

    return edit


def resample_of(reference: Any, site: AnySite, seed: int) -> Edit:
    """Another row of the reference for every row of the run, within its group where the reference has that group."""
    values = _values(reference, site)
    donors_from = reference_tokens(reference)

    def edit(x: Tensor, here: Here) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        rows = []
        for row in range(here.base_batch):
            pool = _same_group(row, here.prompts, donors_from, values.shape[0])
            if here.prompts is not None and here.prompts is donors_from and len(pool) > 1:
                pool = [donor for donor in pool if donor != row]
            rows.append(pool[int(torch.randint(len(pool), (1,), generator=generator))])
        return _aligned(values[rows], x, here, site)

    return edit


def _same_group(row: int, target: PromptTokens | None, donors: PromptTokens | None, n_donors: int) -> list[int]:
    if target is None or donors is None:
        return list(range(n_donors))
    pool = [i for i, group in enumerate(donors.groups) if group == target.groups[row]]
    return pool or list(range(n_donors))


def mean_of(reference: Any, site: AnySite, over: MeanOver) -> Edit:
    """The mean of the reference: over all its tokens, per position, or per group and position."""
    if over not in get_args(MeanOver):
        raise InputError(f"mean_over is 'all', 'position' or 'group', not {over!r}")
    values = _values(reference, site, by_position=over != "all")
    prompts = reference_tokens(reference)
    if over == "all":
        overall = _mean_over_tokens(values, reference, site)
        return lambda x, here: overall.to(x).expand_as(x)
    if over == "position":
        means = _mean_per_position(values, reference, list(range(values.shape[0])))[None]
        return lambda x, here: _aligned(means, x, here, site)
    if prompts is None:
        raise InputError("a mean per group needs a reference that knows its groups: capture task.clean or task.corrupt")
    groups = sorted(set(prompts.groups))
    rows_of = [[i for i, name in enumerate(prompts.groups) if name == group] for group in groups]
    by_group = torch.stack([_mean_per_position(values, reference, rows) for rows in rows_of])

    def edit(x: Tensor, here: Here) -> Tensor:
        return _aligned(by_group[_group_rows(here, groups)], x, here, site)

    return edit


def _group_rows(here: Here, groups: Sequence[str]) -> list[int]:
    if here.prompts is None or len(here.prompts.groups) != here.base_batch:
        raise InputError("a mean per group needs the groups of the prompts that run: pass task=task to intervene")
    missing = sorted(set(here.prompts.groups) - set(groups))
    if missing:
        raise InputError(f"the reference has no prompts of group {missing[0]!r}; draw it with the same templates")
    return [groups.index(group) for group in here.prompts.groups]


def _mean_over_tokens(values: Tensor, reference: Any, site: AnySite) -> Tensor:
    """Mean over rows and positions, without pads, first positions and norm outliers."""
    if site.pos_dim != 1:
        raise InputError("attention has no mean over all tokens; take mean_over='position' or 'group'")
    if _single_position(reference):
        return values.mean(0)
    keep = _real(values, reference)
    if keep.shape[1] > 1 and getattr(reference, "positions", None) is None:
        keep = keep.clone()
        keep[:, 0] = False
    if not bool(keep.any()):
        keep = _real(values, reference)
    flat = values[keep]
    norms = flat.flatten(1).float().norm(dim=-1)
    return flat[norms <= OUTLIER_RATIO * norms.median()].mean(0)


def _mean_per_position(values: Tensor, reference: Any, rows: list[int]) -> Tensor:
    """Mean over the given rows at each position; pads do not count. [pos, ...], or [...] for a single position."""
    chosen = values[rows]
    if _single_position(reference):
        return chosen.mean(0)
    real = _real(values, reference)[rows]
    if chosen.ndim == 4 and real.shape[1] != chosen.shape[1]:  # attention: queries are the third dimension
        weights = real[:, None, :, None].to(chosen)
    else:
        weights = real.view(*real.shape, *[1] * (chosen.ndim - 2)).to(chosen)
    return (chosen * weights).sum(0) / weights.sum(0).clamp(min=1)


def _single_position(reference: Any) -> bool:
    """Whether the reference holds one position a row and has dropped that dimension."""
    positions = getattr(reference, "positions", None)
    if positions is None or positions.shape[1] != 1:
        return False
    value = next(iter(reference.values()))
    site = next(iter(reference))
    return value.ndim == (2 if site.head_dim is None else 3)


def _real(values: Tensor, reference: Any) -> Tensor:
    """Which of the reference's tokens are real, Bool[batch, pos], on the values' device."""
    positions = getattr(reference, "positions", None)
    tokens = getattr(reference, "tokens", None)
    if positions is not None:
        return torch.ones(positions.shape, dtype=torch.bool, device=values.device)
    if tokens is None:
        return torch.ones(values.shape[:2], dtype=torch.bool, device=values.device)
    return real_tokens(tokens).to(values.device)


def _aligned(values: Tensor, x: Tensor, here: Here, site: AnySite) -> Tensor:
    """Values of the whole prompts, cut to the positions that `x` holds and repeated to its batch."""
    values = values.to(x)
    if values.ndim == x.ndim - 1:  # a single position: the same everywhere
        values = values.unsqueeze(site.pos_dim)
    elif values.shape[site.pos_dim] != 1:
        end = here.offset + x.shape[site.pos_dim]
        if values.shape[site.pos_dim] < end:
            raise InputError(
                f"the reference has {values.shape[site.pos_dim]} positions and the run reaches {end}; "
                "use mean_over='all', or name positions inside the reference"
            )
        values = values.narrow(site.pos_dim, here.offset, x.shape[site.pos_dim])
    if values.shape[0] not in (1, x.shape[0]):
        values = values.repeat(x.shape[0] // values.shape[0], *[1] * (values.ndim - 1))
    try:
        return values.expand_as(x)
    except RuntimeError:
        raise InputError(
            f"values of shape {tuple(values.shape)} do not fit {site}, which is {tuple(x.shape)}"
        ) from None
