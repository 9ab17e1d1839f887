"""Which rows, positions and heads of an activation are meant: one way to say it, for reading and for writing.

Positions may be given as an int or a list of them (the same in every prompt; negative from the end of each prompt's
real tokens, or of what has passed so far where no lengths are known), as a role name ("end", "S2") or a list of names,
as a tensor Int[batch] or Int[batch, k] (per prompt), or as a boolean mask Bool[batch, pos]. None means all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from interp.errors import InputError, nearest
from interp.hooks.prompts import PromptTokens

Positions = int | str | Sequence[int] | Sequence[str] | Tensor | None


def position_index(
    positions: Positions, batch: int, n_pos: int, prompts: PromptTokens | None
) -> Int[Tensor, "batch chosen"]:
    """The chosen positions of every prompt, Int[batch, chosen].

    Roles are looked up in `prompts`. Raises InputError for an unknown role, roles without prompts, a position outside
    the tokens, or a tensor of the wrong shape.
    """
    if positions is None:
        return torch.arange(n_pos).expand(batch, n_pos)
    if isinstance(positions, Tensor):
        if positions.dtype == torch.bool:
            return _index_of_mask(positions.cpu(), batch, n_pos)
        index = positions[:, None] if positions.ndim == 1 else positions
        if index.ndim != 2 or index.shape[0] != batch or index.is_floating_point():
            raise InputError(
                f"a tensor of positions must be integers [batch] or [batch, k] with batch {batch}, "
                f"not {tuple(positions.shape)}"
            )
        return _inside(index.cpu(), n_pos, _lengths(batch, n_pos, prompts))
    items: list[int | str] = [positions] if isinstance(positions, int | str) else [*positions]
    if not items:
        raise InputError("the list of positions is empty; leave positions out to mean all of them")
    columns = [_one_position(item, batch, n_pos, prompts) for item in items]
    return torch.stack(columns, dim=1)


def _one_position(item: int | str, batch: int, n_pos: int, prompts: PromptTokens | None) -> Int[Tensor, " batch"]:
    if isinstance(item, str):
        if prompts is None:
            raise InputError(
                f"position {item!r} is a name, and these tokens have none; give numbers, capture task.clean itself, "
                "or pass task=task to intervene"
            )
        if item not in prompts.positions:
            raise InputError(f"there is no position called {item!r}{nearest(item, prompts.positions)}")
        named = prompts.positions[item].cpu()
        if named.shape[0] != batch:
            raise InputError(f"the named positions are of {named.shape[0]} prompts, the batch has {batch}")
        return named
    return _inside(torch.full((batch,), int(item)), n_pos, _lengths(batch, n_pos, prompts))


def _lengths(batch: int, n_pos: int, prompts: PromptTokens | None) -> Int[Tensor, " batch"]:
    """Where each prompt ends, which is what negative positions count from."""
    if prompts is not None and prompts.shape[0] == batch:
        return prompts.lengths.cpu()
    return torch.full((batch,), n_pos)


def _index_of_mask(mask: Tensor, batch: int, n_pos: int) -> Int[Tensor, "batch chosen"]:
    """The positions where a mask is True, which must be as many in every prompt to make a tensor."""
    if mask.shape != (batch, n_pos):
        raise InputError(f"a mask of positions must be [batch, pos] = {(batch, n_pos)}, not {tuple(mask.shape)}")
    counts = mask.sum(1)
    if bool((counts != counts[0]).any()) or int(counts[0]) == 0:
        raise InputError(f"the mask chooses {counts.tolist()} positions of the prompts; choose as many in each, over 0")
    return mask.nonzero()[:, 1].view(batch, -1)


def _inside(index: Tensor, n_pos: int, lengths: Int[Tensor, " batch"]) -> Tensor:
    ends = lengths.view(-1, *[1] * (index.ndim - 1))
    resolved = torch.where(index < 0, ends + index, index)
    if bool((resolved < 0).any()) or bool((resolved >= n_pos).any()):
        bad = int(index[(resolved < 0) | (resolved >= n_pos)][0])
        raise InputError(f"position {bad} is outside the {n_pos} positions of these tokens")
    return resolved


def selection_mask(
    positions: Positions,
    rows: Any,
    batch: int,
    n_pos: int,
    offset: int,
    prompts: PromptTokens | None,
) -> Bool[Tensor, "batch pos"]:
    """True where a write applies, for activations that hold positions offset .. offset + n_pos.

    Positions are absolute; with a key/value cache those that already passed are no longer there and stay unwritten.
    """
    total = offset + n_pos
    chosen = torch.ones((batch, total), dtype=torch.bool)
    if isinstance(positions, Tensor) and positions.dtype == torch.bool:
        chosen = _fit_mask(positions.cpu(), batch, total)
    elif positions is not None:
        width = full_width(positions, total, prompts)
        index = position_index(positions, batch, width, prompts)
        chosen = torch.zeros((batch, width), dtype=torch.bool).scatter_(1, index, True)[:, :total]
    if rows is not None:
        keep = torch.zeros(batch, dtype=torch.bool)
        row_index = torch.as_tensor(rows)
        wrong = [] if row_index.dtype == torch.bool else row_index[(row_index < -batch) | (row_index >= batch)].tolist()
        if wrong or (row_index.dtype == torch.bool and row_index.shape != (batch,)):
            what = f"row {wrong[0]} does not exist" if wrong else f"rows is a mask of {tuple(row_index.shape)}"
            raise InputError(f"{what}: the batch has {batch}")
        keep[row_index] = True
        chosen = chosen & keep[:, None]
    return chosen[:, offset:]


def full_width(positions: Positions, total: int, prompts: PromptTokens | None) -> int:
    """How many positions to resolve against: ones that a generation has not reached yet come with a later pass."""
    return max(total, prompts.shape[1] if prompts is not None else 0, last_position(positions) + 1)


def last_position(positions: Positions) -> int:
    """The largest position given as a number or by a mask; -1 where none is (names, None)."""
    if isinstance(positions, Tensor):
        index = positions.nonzero()[:, -1] if positions.dtype == torch.bool else positions
        return int(index.max()) if index.numel() else -1
    items = positions if isinstance(positions, Sequence) and not isinstance(positions, str) else [positions]
    return max((item for item in items if isinstance(item, int)), default=-1)


def _fit_mask(mask: Tensor, batch: int, total: int) -> Tensor:
    if mask.ndim != 2 or mask.shape[0] != batch:
        raise InputError(f"a mask of positions must be [batch, pos] with batch {batch}, not {tuple(mask.shape)}")
    if mask.shape[1] >= total:
        return mask[:, :total].clone()
    # New tokens of a generation lie past the mask: they were not chosen.
    return torch.nn.functional.pad(mask, (0, total - mask.shape[1]), value=False)
