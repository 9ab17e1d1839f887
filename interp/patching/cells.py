"""The cells of a sweep: which layer, head and positions each patched run changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from interp.errors import InputError, unknown
from interp.hooks.sites import KEY_VALUE_KINDS, Site, check, n_heads_at
from interp.results import Axis
from interp.tasks import PromptPairs

OVER = ("resid_pre", "resid_mid", "attn_out", "mlp_out", "q", "k", "v", "z", "pattern")
BY = ("layer", "head", "position", "role")


@dataclass(frozen=True, eq=False)
class Cell:
    """One patched run: the site's kind at some layers, one head or all, and where the donor's values go.

    index: place in the result. to, source: positions in the run and in the donor, Int[batch]; None for all positions.
    """

    index: tuple[int, ...]
    layers: tuple[int, ...]
    head: int | None
    to: Int[Tensor, " batch"] | None
    source: Int[Tensor, " batch"] | None


def check_request(
    model: Any,
    task: PromptPairs,
    over: str,
    by: Sequence[str] | str,
    layers: Sequence[int] | None,
    heads: Sequence[int] | None,
) -> tuple[str, ...]:
    """Refuse what cannot be swept, before anything runs; returns `by` as a tuple."""
    if over not in OVER:
        raise unknown("activation to sweep over", over, OVER)
    axes = (by,) if isinstance(by, str) else tuple(by)
    for name in axes:
        if name not in BY:
            raise unknown("axis to sweep by", name, BY)
    if not axes or len(set(axes)) != len(axes):
        raise InputError("by takes one or more of layer, head, position, role, each once")
    if {"position", "role"} <= set(axes):
        raise InputError("sweep by 'position' or by 'role', not both: a role is a position in every prompt")
    if "head" in axes and Site(over, 0).head_dim is None:
        raise InputError(f"{over} has no heads; sweep over q, k, v, z or pattern, or leave 'head' out of by")
    if "position" in axes and not task.equal_lengths:
        raise InputError("the prompts differ in length, so a position means something else in each; sweep by 'role'")
    if "role" in axes and over == "pattern" and not task.aligned:
        raise InputError("attention patterns of prompts of different length cannot be exchanged; sweep over z")
    if not {"position", "role"} & set(axes) and not task.aligned:
        raise InputError("clean and corrupt prompts differ in length, so only named positions match; sweep by 'role'")
    for layer in range(int(model.cfg.n_layers)) if layers is None else layers:
        check(model, Site(over, layer), heads)
    return axes


def axes_of(
    model: Any, task: PromptPairs, over: str, by: Sequence[str], layers: Sequence[int], heads: Sequence[int] | None
) -> tuple[Axis, ...]:
    """The named axes of the result, in the order of `by`."""
    labels: dict[str, tuple[Any, ...]] = {
        "layer": tuple(layers),
        "position": tuple(range(int(task.lengths[0]))),
        "role": task.roles,
    }
    if "head" in by:
        labels["head"] = tuple(heads) if heads is not None else tuple(range(n_heads_at(model, Site(over, 0))))
    return tuple(Axis(name, labels[name]) for name in by)


def all_cells(task: PromptPairs, axes: Sequence[Axis], layers: Sequence[int], direction: str) -> list[Cell]:
    """Every cell of the sweep, in the order of the axes."""
    shape = [len(axis) for axis in axes]
    run_at, donor_at = (
        (task.corrupt_positions, task.positions) if direction == "denoise" else (task.positions, task.corrupt_positions)
    )
    cells = []
    for index in torch.cartesian_prod(*map(torch.arange, shape)).reshape(-1, len(shape)).tolist():
        chosen = {axis.name: axis.labels[i] for axis, i in zip(axes, index)}
        to = source = None
        if "role" in chosen:
            to, source = run_at[str(chosen["role"])].cpu(), donor_at[str(chosen["role"])].cpu()
        elif "position" in chosen:
            to = source = torch.full((len(task),), int(chosen["position"]))
        at_layers = (int(chosen["layer"]),) if "layer" in chosen else tuple(layers)
        head = int(chosen["head"]) if "head" in chosen else None
        cells.append(Cell(tuple(index), at_layers, head, to, source))
    return cells


def head_axis_note(model: Any, over: str) -> str:
    """What a head of this sweep is, where it is not a query head."""
    grouped = over in KEY_VALUE_KINDS and model.cfg.n_key_value_heads
    return "heads are key/value groups, shared by several query heads" if grouped else ""
