"""What every study is asked: sparsities, importances, sizes, seeds and schedules, checked and made into tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import InputError, unknown
from interp.results import Axis, Provenance, Values
from interp.runs import provenance
from interp.superposition.optimising import Schedule

PAPER = "Elhage et al. 2022"


def sparsities(sparsity: float | Sequence[float]) -> list[float]:
    """The sparsities as a list. Raises InputError unless every one is in [0, 1) and given once."""
    given = [float(sparsity)] if isinstance(sparsity, int | float) else [float(one) for one in sparsity]
    if not given:
        raise InputError("no sparsity was given; a sparsity is the share of inputs without a feature, such as 0.9")
    for one in given:
        if not 0 <= one < 1:
            raise InputError(
                f"a sparsity is the share of inputs without a feature, from 0 to below 1, not {one:g}"
                + ("; at 1 no feature is ever there" if one == 1 else "")
            )
    return numbers_once("sparsity", given)


def numbers_once(name: str, given: Sequence[float]) -> list[float]:
    """The settings of a sweep as a list. Raises InputError for none, or where two would have the same label."""
    if not given:
        raise InputError(f"no {name} was given to sweep over")
    if len({f"{one:g}" for one in given}) < len(given):
        raise InputError(
            f"{'an' if name[0] in 'aeiou' else 'a'} {name} is given twice: {', '.join(f'{one:g}' for one in given)}"
        )
    return [float(one) for one in given]


def sparsity_axis(given: Sequence[float]) -> Axis:
    """An axis with the sparsities as text, "0.9"."""
    return Axis("sparsity", tuple(f"{one:g}" for one in given))


def over_inverse_density(values: Values) -> Values:
    """The same numbers over 1/(1 - S), on whose logarithm sparsities from 0 to 0.997 stand apart."""
    axes = (
        Axis("inverse_density", tuple(f"{1 / (1 - float(one)):.6g}" for one in axis.labels))
        if axis.name == "sparsity"
        else axis
        for axis in values.axes
    )
    return replace(values, axes=tuple(axes))


def numbered(name: str, n: int) -> Axis:
    """An axis of numbers from 0."""
    return Axis(name, tuple(range(n)))


def densities(given: Sequence[float], device: torch.device) -> Float[Tensor, " setting"]:
    """1 - S of every setting."""
    return torch.tensor([1 - one for one in given], device=device)


def importances(
    importance: float | Sequence[float], n_features: int, density: Float[Tensor, " setting"]
) -> Float[Tensor, "setting feature"]:
    """The weight of every feature in the loss, alike in all settings: powers of one number (the paper's), or each."""
    if isinstance(importance, int | float):
        made = float(importance) ** torch.arange(n_features, dtype=torch.float32)
    else:
        made = torch.tensor([float(one) for one in importance])
        if len(made) != n_features:
            raise InputError(
                f"{len(made)} importances were given for {n_features} features; give one each, or one number"
            )
    if not (bool((made > 0).all()) and bool(made.isfinite().all())):
        raise InputError("importances are above 0 and finite; a feature of importance 0 is better left out")
    return made.to(density.device).repeat(len(density), 1)


def order_of(importance: Float[Tensor, "setting feature"]) -> str:
    """The order in which features stand in the figures, in words."""
    steps = importance.diff(dim=-1)
    if bool((steps == 0).all()):
        return "features of equal importance"
    if bool((steps <= 0).all()):
        return "features from the most to the least important"
    if bool((steps >= 0).all()):
        return "features from the least to the most important"
    return "features in the order in which their importances were given"


def check_sizes(n_features: int, n_hidden: int, *, more_hidden: bool = False) -> None:
    """Refuse models without features or hidden dimensions and, but for more_hidden, more of these than features."""
    if n_features < 1 or n_hidden < 1:
        raise InputError(
            f"a model needs at least one feature and one hidden dimension, not {n_features} and {n_hidden}"
        )
    if n_hidden > n_features and not more_hidden:
        raise InputError(
            f"{n_hidden} hidden dimensions for {n_features} features leave nothing to share; "
            f"use at most {n_features} dimensions"
        )


def seeds_from(n_seeds: int, seed: int) -> tuple[int, ...]:
    """Consecutive seeds. Raises InputError for none, or negative ones."""
    if n_seeds < 1:
        raise InputError(f"n_seeds is how many models of each setting are trained, at least 1, not {n_seeds}")
    if seed < 0:
        raise InputError(f"seeds are whole numbers from 0, not {seed}")
    return tuple(range(seed, seed + n_seeds))


def schedule_of(options: Mapping[str, Any], usual: Schedule) -> Schedule:
    """A study's usual schedule with what the caller wants otherwise. Raises InputError for unknown names."""
    for name in options:
        if name not in Schedule.__dataclass_fields__:
            raise unknown("option of training", name, list(Schedule.__dataclass_fields__))
    return replace(usual, **options)


def source_of(model: str, formula: str, device: torch.device, seed: int, started: datetime) -> Provenance:
    """Provenance of models that are made here and nowhere stored."""
    about = {"id": f"toy models of superposition: {model}", "formula": formula, "device": str(device)}
    return provenance(model=about, seed=seed, started=started)


def best_of(losses: Float[Tensor, "*setting seed"], data: Tensor) -> Tensor:
    """Of every setting the data [*setting, seed, ...] of the seed with the least loss."""
    best = losses.argmin(-1)
    models = data.flatten(0, best.ndim - 1)
    return models[torch.arange(len(models)), best.flatten()].unflatten(0, best.shape)
