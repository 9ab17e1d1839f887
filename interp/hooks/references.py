"""What an ablation puts in place, computed from a reference run: means, another prompt's values, the paired run's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.errors import InputError
from interp.hooks.capturing import Activations, AnySite
from interp.hooks.latents import plain_site
from interp.hooks.prompts import PromptTokens, real_tokens

MeanOver = Literal["all", "position", "group"]
# A token whose norm is this many times the median is an attention sink, not a sample of the distribution.
OUTLIER_RATIO = 10.0


@dataclass(frozen=True, eq=False)
class Here:
    """Where in a run an edit is applied.

    offset: absolute position of the first token that is there (over 0 with a key/value cache); prompts: the tokens
    that names refer to; base_batch: prompts in the batch, of which the rows may hold several copies (run-major);
    mask: where the edit will apply, Bool broadcastable to the activation, None for everywhere.
    """

    offset: int
    prompts: PromptTokens | None
    base_batch: int
    mask: Tensor | None = None

    def written(self, n_pos: int, pos_dim: int) -> Bool[Tensor, "base pos"]:
        """Which tokens of each prompt are written in any copy; those known to be pads do not count."""
        chosen = torch.ones((self.base_batch, n_pos), dtype=torch.bool)
        if self.mask is not None:
            mask = self.mask.movedim(pos_dim, 1).flatten(2).any(-1).cpu()
            chosen = mask.view(-1, self.base_batch, mask.shape[1]).any(0).expand(-1, n_pos).clone()
        if self.prompts is not None and self.prompts.shape[0] == self.base_batch:
            real = real_tokens(self.prompts).cpu()[:, self.offset : self.offset + n_pos]
            chosen[:, : real.shape[1]] &= real
        return chosen


Edit = Callable[[Tensor, Here], Tensor]


def reference_tokens(reference: Any) -> PromptTokens | None:
    """The prompts a reference was captured on, when it knows them."""
    tokens = getattr(reference, "tokens", None)
    return tokens if isinstance(tokens, PromptTokens) else None


@dataclass(frozen=True, eq=False)
class Donor:
    """The activations of a reference at one site.

    values: [row, pos, ...], or [row, ...] where `single` position was kept and its dimension dropped; real: which
    tokens are no pads, Bool[row, pos]; whole: whether all positions are there, in order.
    """

    site: AnySite
    values: Tensor
    real: Bool[Tensor, "row pos"]
    single: bool
    whole: bool
    prompts: PromptTokens | None

    @classmethod
    def of(cls, reference: Any, site: AnySite) -> Donor:
        """Read a capture, or a tensor that holds the activation of whole prompts or of one position."""
        if isinstance(reference, Activations):
            values, single, kept = reference[site], reference.single, reference.positions
        elif isinstance(reference, Tensor):
            full = 4 if plain_site(site).head_dim is not None else 3
            if reference.ndim not in (full, full - 1):
                raise InputError(
                    f"a reference for {site} is [batch, pos, ...] with {full} dimensions, or [batch, ...] for one "
                    f"position, not {tuple(reference.shape)}"
                )
            values, single, kept = reference, reference.ndim == full - 1, None
        else:
            raise InputError(f"a reference is what interp.capture returns, or a tensor, not {type(reference).__name__}")
        prompts = reference_tokens(reference)
        n_pos = 1 if single else values.shape[site.pos_dim]
        real = torch.ones((values.shape[0], n_pos), dtype=torch.bool)
        if prompts is not None:
            real = real_tokens(prompts).cpu()
            real = real if kept is None else real.gather(1, kept.cpu())
        return cls(site, values, real, single, kept is None, prompts)

    def by_position(self) -> Donor:
        """Itself, when its values can be told by position."""
        if not self.single and not self.whole:
            raise InputError("the reference holds only some positions; capture it at all of them, or at a single one")
        return self

    def refuse_pads(self, rows: Sequence[int], x: Tensor, here: Here) -> None:
        """Refuse to write what the reference's pads hold over real tokens; `rows` are those of the base batch."""
        bad = here.written(x.shape[self.site.pos_dim], self.site.pos_dim) & ~self.real_there(rows, x, here)
        if bool(bad.any()):
            row, position = bad.nonzero()[0].tolist()
            raise InputError(
                f"at position {here.offset + position} of prompt {row} the reference has only padding; name positions "
                "that its prompts have as well"
            )

    def real_there(self, rows: Sequence[int], x: Tensor, here: Here) -> Bool[Tensor, "base pos"]:
        """Which of the positions that `x` holds are real tokens of the given rows of the reference."""
        n_pos = x.shape[self.site.pos_dim]
        real = self.real[list(rows)]
        if self.single:
            return real.expand(-1, n_pos)
        real = real[:, here.offset : here.offset + n_pos]
        return torch.nn.functional.pad(real, (0, n_pos - real.shape[1]), value=False)


def same_rows(reference: Any, site: AnySite) -> Edit:
    """Row i of the reference for row i of the run."""
    donor = Donor.of(reference, site).by_position()

    def edit(x: Tensor, here: Here) -> Tensor:
        n_rows = donor.values.shape[0]
        if x.shape[0] % n_rows:
            raise InputError(f"the reference has {n_rows} rows, the run {x.shape[0]}; capture the same prompts")
        aligned = aligned_to(donor.values, x, here, site)
        if not bool(donor.real.all()):
            donor.refuse_pads([row % n_rows for row in range(here.base_batch)], x, here)
        return aligned

    return edit


def resample_of(reference: Any, site: AnySite, seed: int) -> Edit:
    """Another row of the reference for every row of the run.

    From the row's group, unless the group has no other prompt there. A reference with as many rows as the run is taken
    to be the run's own prompts: row i is never given its own values.
    """
    donor = Donor.of(reference, site).by_position()

    def edit(x: Tensor, here: Here) -> Tensor:
        allowed = _stand_ins(donor, x, here)
        draw = torch.rand(allowed.shape, generator=torch.Generator().manual_seed(seed))
        rows = draw.masked_fill(~allowed, -1.0).argmax(dim=1)
        return aligned_to(donor.values[rows.to(donor.values.device)], x, here, site)

    return edit


def _stand_ins(donor: Donor, x: Tensor, here: Here) -> Bool[Tensor, "base row"]:
    """Which rows of the reference may stand in for each prompt: others, long enough, of its group if any is."""
    n_donors = donor.values.shape[0]
    allowed = torch.ones((here.base_batch, n_donors), dtype=torch.bool)
    if n_donors == here.base_batch:
        allowed.fill_diagonal_(False)
    if not bool(donor.real.all()):
        written = here.written(x.shape[donor.site.pos_dim], donor.site.pos_dim)
        allowed &= written.float() @ (~donor.real_there(range(n_donors), x, here)).float().T == 0
    without = (~allowed.any(1)).nonzero()
    if len(without):
        row = int(without[0])
        raise InputError(
            f"the reference has no other prompt, as long as prompt {row}, to resample from; draw more prompts"
        )
    if here.prompts is None or donor.prompts is None or len(here.prompts.groups) != here.base_batch:
        return allowed
    groups = donor.prompts.groups
    of_group = allowed & torch.tensor([[group == mine for group in groups] for mine in here.prompts.groups])
    return torch.where(of_group.any(1, keepdim=True), of_group, allowed)


def mean_of(reference: Any, site: AnySite, over: MeanOver) -> Edit:
    """The mean of the reference: over all its tokens, per position, or per group and position."""
    if over not in get_args(MeanOver):
        raise InputError(f"mean_over is 'all', 'position' or 'group', not {over!r}")
    donor = Donor.of(reference, site)
    if over == "all":
        overall = _mean_over_tokens(donor)
        return lambda x, here: overall.to(x).expand_as(x)
    donor = donor.by_position()
    n_rows = donor.values.shape[0]
    if over == "position":
        return _mean_edit(donor, [list(range(n_rows))], lambda here: [0])
    if donor.prompts is None:
        raise InputError("a mean per group needs a reference that knows its groups: capture task.clean or task.corrupt")
    names = donor.prompts.groups
    groups = sorted(set(names))
    members = [[i for i, name in enumerate(names) if name == group] for group in groups]
    return _mean_edit(donor, members, lambda here: _group_rows(here, groups))


def _mean_edit(donor: Donor, members: list[list[int]], set_of: Callable[[Here], list[int]]) -> Edit:
    """Means over sets of the reference's rows; `set_of` says which one each prompt of the run gets (or all)."""
    means = torch.stack([_mean_per_position(donor, rows) for rows in members])
    some_real = torch.stack([donor.real[rows].any(0) for rows in members])
    averaged = replace(donor, real=some_real)

    def edit(x: Tensor, here: Here) -> Tensor:
        chosen = set_of(here)
        aligned = aligned_to(means[chosen], x, here, donor.site)
        if not bool(some_real.all()):
            averaged.refuse_pads(chosen, x, here)
        return aligned

    return edit


def _group_rows(here: Here, groups: Sequence[str]) -> list[int]:
    if here.prompts is None or len(here.prompts.groups) != here.base_batch:
        raise InputError("a mean per group needs the groups of the prompts that run: pass task=task to intervene")
    missing = sorted(set(here.prompts.groups) - set(groups))
    if missing:
        raise InputError(f"the reference has no prompts of group {missing[0]!r}; draw it with the same templates")
    return [groups.index(group) for group in here.prompts.groups]


def _mean_over_tokens(donor: Donor) -> Tensor:
    """Mean over rows and positions, without pads, first positions and norm outliers."""
    if donor.site.pos_dim != 1:
        raise InputError("attention has no mean over all tokens; take mean_over='position' or 'group'")
    keep = donor.real.to(donor.values.device)
    values = donor.values[:, None] if donor.single else donor.values
    if donor.whole and keep[:, 1:].any():
        keep = keep.clone()
        keep[:, 0] = False
    flat = values[keep]
    norms = flat.flatten(1).float().norm(dim=-1)
    return flat[usual_lengths(norms)].mean(0)


def usual_lengths(norms: Float[Tensor, " n"]) -> Bool[Tensor, " n"]:
    """True for lengths at most ten times the median; for all where that is 0, as for sparse latents it can be."""
    middle = norms.median()
    return norms <= OUTLIER_RATIO * middle if bool(middle > 0) else torch.ones_like(norms, dtype=torch.bool)


def _mean_per_position(donor: Donor, rows: list[int]) -> Tensor:
    """Mean over the given rows at each position; pads do not count. [pos, ...], or [...] for a single position."""
    chosen = donor.values[rows]
    real = donor.real[rows].to(chosen)
    dim = donor.site.pos_dim
    if donor.single:
        weights = real.view(-1, *[1] * (chosen.ndim - 1))
    else:
        weights = real.view(-1, *[1] * (dim - 1), real.shape[1], *[1] * (chosen.ndim - dim - 1))
    return (chosen * weights).sum(0) / weights.sum(0).clamp(min=1)


def aligned_to(values: Tensor, x: Tensor, here: Here, site: AnySite) -> Tensor:
    """Values of the whole prompts, cut to the positions that `x` holds and repeated to its batch."""
    values = values.to(x)
    if values.ndim == x.ndim - 1:  # a single position: the same everywhere
        values = values.unsqueeze(site.pos_dim)
    elif values.shape[site.pos_dim] != 1:
        values = _reaching(values, x, here, site)
        values = values.narrow(site.pos_dim, here.offset, x.shape[site.pos_dim])
        if site.pos_dim == 2:
            values = values[..., : x.shape[-1]]
    if values.shape[0] not in (1, x.shape[0]):
        values = values.repeat(x.shape[0] // values.shape[0], *[1] * (values.ndim - 1))
    try:
        return values.expand_as(x)
    except RuntimeError:
        raise InputError(
            f"values of shape {tuple(values.shape)} do not fit {site}, which is {tuple(x.shape)}"
        ) from None


def _reaching(values: Tensor, x: Tensor, here: Here, site: AnySite) -> Tensor:
    """Values lengthened to where the run reaches (a generation, say), if nothing is written past their end."""
    n_there, n_pos = values.shape[site.pos_dim], x.shape[site.pos_dim]
    missing = here.offset + n_pos - n_there
    if missing <= 0:
        return values
    if bool(here.written(n_pos, site.pos_dim)[:, max(n_there - here.offset, 0) :].any()):
        raise InputError(
            f"the reference has {n_there} positions and the run reaches {here.offset + n_pos}; "
            "use mean_over='all', or name positions inside the reference"
        )
    # Keys that came later are masked in the rows that are written.
    fill = torch.finfo(values.dtype).min if getattr(site, "kind", None) == "scores" else 0.0
    widths = [0, missing] * (2 if site.pos_dim == 2 else 1)
    behind = [] if site.pos_dim == 2 else [0, 0] * (values.ndim - 2)
    return torch.nn.functional.pad(values, [*behind, *widths], value=fill)
