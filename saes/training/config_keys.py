"""Every key of a training's YAML file: what it is when left out, what it means and what it may be.

The words are those that stand under the fields of the dataclasses, so that there is one place where they are written.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Iterator
from typing import Any, NamedTuple, get_args, get_type_hints

from saes.architectures import ARCHITECTURES
from saes.training.config import TrainConfig


class Key(NamedTuple):
    """A key: where it stands (fit.schedule.lr), its type, what it is when left out ("needed" where it cannot be), and
    what it means."""

    name: str
    type: str
    default: str
    meaning: str


def config_keys() -> dict[str, list[Key]]:
    """All keys by the part of the file they stand in: the file itself, texts, harvest, fit and so on, and the entries
    of `dictionaries` by architecture."""
    found: dict[str, list[Key]] = {}
    _collect(TrainConfig, "", found)
    for name, kind in ARCHITECTURES.items():
        keys = [key for key in _keys(kind, "") if key.name != "d_in"]
        found[f"an entry of dictionaries with architecture: {name}"] = keys
    return found


def field_texts(kind: type) -> dict[str, str]:
    """The strings under a dataclass's fields, those of its bases too, on one line each."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(tree, ast.ClassDef)
        for field, text in zip(tree.body, tree.body[1:]):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
                found[ast.unparse(field.target)] = " ".join(str(text.value.value).split())
    return found


def _collect(kind: type, path: str, found: dict[str, list[Key]]) -> None:
    found[path] = []
    hints = get_type_hints(kind)
    for key in _keys(kind, path):
        hint = hints[key.name.rpartition(".")[2]]
        inner = next((each for each in (hint, *get_args(hint)) if dataclasses.is_dataclass(each)), None)
        found[path].append(key)
        if isinstance(inner, type):
            _collect(inner, key.name, found)


def _keys(kind: type, path: str) -> Iterator[Key]:
    texts = field_texts(kind)
    for field in dataclasses.fields(kind):
        yield Key(
            f"{path}.{field.name}" if path else field.name, str(field.type), _default(field), texts.get(field.name, "")
        )


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        return "none" if field.default is None else str(field.default)
    if field.default_factory is dataclasses.MISSING:
        return "needed"
    made = field.default_factory()
    return "its keys, below" if dataclasses.is_dataclass(made) else str(made)
