"""Plain data (what JSON can hold) and its exact text: not-a-number and infinities survive, and equality knows them."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
from collections.abc import Mapping, Set
from pathlib import PurePath
from typing import Any

from interp.errors import InputError

JSON = Any
"""None, bool, int, float, str, and lists and text-keyed dicts of them. `Any`, since recursive types are invariant."""

_FLOAT = "$float"  # strict JSON has no NaN or infinity: they are written as {"$float": "nan"}
_ESCAPE = "$dict"  # a user's own dict that has one of these two keys is written as {"$dict": [[key, value], ...]}


def plain(value: object, where: str = "value") -> JSON:
    """A deep copy of `value` as plain data: tuples become lists, paths text, numpy and torch scalars numbers.

    Raises InputError, naming the place, for anything that would not come back the same from a file.
    """
    if isinstance(value, enum.Enum):
        return plain(value.value, where)
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return _plain_dict(value, where)
    if isinstance(value, list | tuple):
        return [plain(v, f"{where}[{i}]") for i, v in enumerate(value)]
    if isinstance(value, Set):
        raise InputError(f"{where} is a set, which has no order; give a sorted list instead")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name), f"{where}.{f.name}") for f in dataclasses.fields(value)}
    return _plain_array(value, where)


def _plain_dict(value: Mapping[Any, object], where: str) -> dict[str, JSON]:
    for key in value:
        if not isinstance(key, str):
            raise InputError(f"{where} has the key {key!r}; keys of settings must be text, so write str(key)")
    return {str(k): plain(v, f"{where}.{k}") for k, v in value.items()}


def _plain_array(value: object, where: str) -> JSON:
    """Scalars and small arrays of numpy or torch (recognised by `tolist`), and dtypes and devices by their text."""
    module = type(value).__module__.partition(".")[0]
    tolist = getattr(value, "tolist", None)
    if callable(tolist):
        return plain(tolist(), where)
    if module == "torch" and type(value).__name__ in {"dtype", "device"}:
        return str(value)
    kind = type(value).__name__
    raise InputError(f"{where} is a {kind}, which cannot be stored; give text, a number, a list or a dict")


def to_json(value: JSON, indent: int | None = None) -> str:
    """Strict JSON of plain data, readable where it can be; `from_json` gives back exactly the same."""
    encoded = _encode(value)
    text = json.dumps(encoded, indent=indent, ensure_ascii=False, allow_nan=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # half of a surrogate pair, from a token that cuts a character in two
        text = json.dumps(encoded, indent=indent, ensure_ascii=True, allow_nan=False)
    return text


def from_json(text: str) -> JSON:
    """The plain data that `to_json` wrote. Raises json.JSONDecodeError on anything else."""
    return json.loads(text, object_hook=_decode)


def same(a: JSON, b: JSON) -> bool:
    """Whether plain data are the same, with NaN equal to itself, 1 different from 1.0, and key order ignored."""
    return json.dumps(_encode(a), sort_keys=True) == json.dumps(_encode(b), sort_keys=True)


def _encode(value: JSON) -> JSON:
    if isinstance(value, float) and not math.isfinite(value):
        return {_FLOAT: repr(value)}
    if isinstance(value, list):
        return [_encode(v) for v in value]
    if isinstance(value, dict):
        if _FLOAT in value or _ESCAPE in value:
            return {_ESCAPE: [[k, _encode(v)] for k, v in value.items()]}
        return {k: _encode(v) for k, v in value.items()}
    return value


def _decode(value: dict[str, JSON]) -> JSON:
    if len(value) == 1 and isinstance(value.get(_FLOAT), str):
        return float(value[_FLOAT])
    if len(value) == 1 and isinstance(value.get(_ESCAPE), list):
        return dict(value[_ESCAPE])
    return value
