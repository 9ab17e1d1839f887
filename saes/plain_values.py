"""Checks of settings: every field is of the kind it says, every number finite and within its bounds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from numbers import Integral, Real
from typing import Any

from interp.errors import InputError


def check_values(
    settings: Any, *, least: Mapping[str, int] | None = None, above: Mapping[str, int] | None = None
) -> None:
    """Raise InputError for the first field of a frozen dataclass that is not what its annotation says.

    Looked at are fields that are int, float, bool or str, with or without None; numbers have to be finite. What means
    the same (1e6 for an int, 6 for a float, NumPy's numbers) is brought into the form of the annotation. least: fields
    that are at least so much. above: fields that are greater than that.
    """
    for each in fields(settings):
        kind, _, rest = str(each.type).partition(" | ")
        value = getattr(settings, each.name)
        if kind not in CONVERTED or (value is None and rest == "None"):
            continue
        made = CONVERTED[kind](each.name, value)
        if type(made) is not type(value):
            object.__setattr__(settings, each.name, made)
        for bounds, words, fits in (
            (least, "at least", lambda number, bound: number >= bound),
            (above, "greater than", lambda number, bound: number > bound),
        ):
            if bounds and each.name in bounds and not fits(made, bounds[each.name]):
                raise InputError(f"{each.name} has to be {words} {bounds[each.name]}, not {value!r}")


def _whole(name: str, value: Any) -> int:
    known = isinstance(value, Real) and not isinstance(value, bool)
    if not known or not math.isfinite(value) or value != int(value):
        raise InputError(f"{name} has to be a whole number, not {value!r}")
    return int(value)


def _number(name: str, value: Any) -> float:
    if not isinstance(value, Real) or isinstance(value, bool) or not math.isfinite(value):
        raise InputError(f"{name} has to be a finite number, not {value!r}")
    return float(value)


def _truth(name: str, value: Any) -> bool:
    if not isinstance(value, Integral) or value not in (0, 1):
        raise InputError(f"{name} has to be True or False, not {value!r}")
    return bool(value)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InputError(f"{name} has to be a text, not {value!r}")
    return value


CONVERTED = {"int": _whole, "float": _number, "bool": _truth, "str": _text}
"""What a value has to pass, by the annotation of its field."""
