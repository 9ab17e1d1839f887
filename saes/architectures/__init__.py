"""The kinds of dictionaries, one file each: a frozen configuration whose `build` makes the module."""

from __future__ import annotations

from typing import Any

from interp.errors import InputError, unknown
from saes.architectures.batch_topk import BatchTopK, BatchTopKDictionary
from saes.architectures.dictionary import Dictionary, DictionaryConfig, Output
from saes.architectures.jumprelu import JumpReLU, JumpReLUDictionary
from saes.architectures.matryoshka import Matryoshka, MatryoshkaDictionary
from saes.architectures.standard import Standard, StandardDictionary
from saes.architectures.topk import TopK, TopKDictionary
from saes.plain_values import CONVERTED

ARCHITECTURES: dict[str, type[DictionaryConfig]] = {
    kind.architecture: kind for kind in (Standard, TopK, BatchTopK, JumpReLU, Matryoshka)
}
"""Every architecture's configuration, by the name it has in files."""


def as_config(values: dict[str, Any]) -> DictionaryConfig:
    """The configuration that plain values describe. Raises InputError for an unknown architecture or key."""
    given = dict(values)
    name = given.pop("architecture", None)
    if name not in ARCHITECTURES:
        raise unknown("architecture", str(name), list(ARCHITECTURES))
    kind = ARCHITECTURES[name]
    for key in given:
        if key not in kind.__dataclass_fields__:
            raise unknown(f"key of {name}", key, list(kind.__dataclass_fields__))
    for key, value in given.items():
        # YAML has 6 and 1e-2 (a text to it) where a number with a point is meant.
        annotated = str(kind.__dataclass_fields__[key].type).partition(" | ")[0]
        if annotated in ("int", "float") and value is not None:
            given[key] = CONVERTED[annotated](key, _number(key, value) if isinstance(value, str) else value)
    if "prefixes" in given:
        given["prefixes"] = tuple(given["prefixes"])
    try:
        return kind(**given)
    except TypeError as error:
        raise InputError(f"{name} needs d_in and d_sae: {error}") from error


def _number(key: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise InputError(f"{key} is a number, not {value!r}") from None


__all__ = [
    "ARCHITECTURES",
    "BatchTopK",
    "BatchTopKDictionary",
    "Dictionary",
    "DictionaryConfig",
    "JumpReLU",
    "JumpReLUDictionary",
    "Matryoshka",
    "MatryoshkaDictionary",
    "Output",
    "Standard",
    "StandardDictionary",
    "TopK",
    "TopKDictionary",
    "as_config",
]
