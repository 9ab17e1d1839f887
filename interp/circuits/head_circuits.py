"""`HeadCircuit`: a circuit of attention heads, each kept at the token positions where its class does its work.

The granularity of Wang et al. 2022 ("Interpretability in the Wild", section 2.2 and appendix): a node is a head at a
position, positions are named roles of the task ("S2", "end"), and MLPs, norms and embeddings belong to every circuit.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from interp.errors import InputError, unknown
from interp.hooks import sites
from interp.hooks.head_names import Head, HeadLike, as_heads, head_name
from interp.runs import atomic_write
from interp.tasks import PromptPairs

Place = tuple[int, int, str]
"""A node of the circuit: layer, head, role of the position."""

FORMAT = "head circuit, version 1"


@dataclass(frozen=True, repr=False)
class HeadCircuit:
    """Heads by class, and the positions of each class.

    heads: {"name mover": ((9, 9), (10, 0)), ...}, layer and head. positions: {"name mover": ("end",), ...}, roles of
    the task's positions. A head may be in several classes and then counts at the positions of all of them. A class may
    be empty. Raises InputError for what is no (layer, head), a class without positions, or positions of no class.
    """

    heads: Mapping[str, tuple[Head, ...]]
    positions: Mapping[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        heads = {name: tuple(dict.fromkeys(_pair(head) for head in group)) for name, group in self.heads.items()}
        positions = {name: _roles(roles) for name, roles in self.positions.items()}
        for name in heads:
            if not positions.get(name):
                raise InputError(f"class {name!r} has no positions; say at which roles its heads are kept")
        for name in positions:
            if name not in heads:
                raise unknown("class of heads", name, heads)
        object.__setattr__(self, "heads", heads)
        object.__setattr__(self, "positions", {name: positions[name] for name in heads})

    @classmethod
    def of(
        cls, model: Any, heads: Mapping[str, Iterable[HeadLike]], positions: Mapping[str, Sequence[str] | str]
    ) -> HeadCircuit:
        """From heads written in any way ("18.6", (18, 6)); raises InputError for one that the model does not have."""
        found = {name: tuple(as_heads(model, group)) if (group := list(given)) else () for name, given in heads.items()}
        return cls(found, {name: _roles(positions.get(name, ())) for name in found})

    @property
    def places(self) -> frozenset[Place]:
        """The nodes: (layer, head, role)."""
        return frozenset((*head, role) for name in self.heads for head in self.heads[name]
                         for role in self.positions[name])  # fmt: skip

    @property
    def all_heads(self) -> tuple[Head, ...]:
        """Every head once, by layer."""
        return tuple(sorted({head for group in self.heads.values() for head in group}))

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes that have heads."""
        return tuple(name for name, group in self.heads.items() if group)

    def __len__(self) -> int:
        return len(self.all_heads)

    def __hash__(self) -> int:
        return hash(self.places)

    def class_of(self, head: Head) -> str:
        """The names of a head's classes, with commas between."""
        return ", ".join(name for name, group in self.heads.items() if head in group)

    def without(self, *parts: HeadLike) -> HeadCircuit:
        """The circuit without some heads ("9.9", (9, 9)) or whole classes ("name mover"), in all of their classes.

        Raises InputError for what the circuit does not have.
        """
        gone = {head for part in parts for head in self._named(part)}
        return self._keeping(lambda name, head: head not in gone)

    def only(self, *parts: HeadLike) -> HeadCircuit:
        """Just some heads or classes of the circuit, at their positions; see `without`."""
        kept = {head for part in parts for head in self._named(part)}
        return self._keeping(lambda name, head: head in kept)

    def with_heads(self, name: str, heads: Iterable[Head], positions: Sequence[str] | str | None = None) -> HeadCircuit:
        """The circuit with more heads in a class; a new class needs its positions.

        Raises InputError for a new class without positions, and for other positions of a class there is.
        """
        roles = _roles(positions) if positions is not None else self.positions.get(name, ())
        return self.union(HeadCircuit({name: tuple(heads)}, {name: roles}))

    def union(self, other: HeadCircuit) -> HeadCircuit:
        """The heads of both; raises InputError where a class of the same name stands at other positions."""
        for name in self.heads.keys() & other.heads.keys():
            if set(self.positions[name]) != set(other.positions[name]):
                mine, theirs = (", ".join(circuit.positions[name]) for circuit in (self, other))
                raise InputError(f"class {name!r} is kept at {mine} in one and at {theirs} in the other; rename it")
        names = dict.fromkeys([*self.heads, *other.heads])
        heads = {name: (*self.heads.get(name, ()), *other.heads.get(name, ())) for name in names}
        return HeadCircuit(heads, {**other.positions, **self.positions})

    def intersection(self, other: HeadCircuit) -> HeadCircuit:
        """The heads, in the classes of this circuit, that the other one keeps at the same positions as well."""
        theirs = other.places
        return self._keeping(lambda name, head: all((*head, role) in theirs for role in self.positions[name]))

    def check(self, model: Any, task: PromptPairs) -> None:
        """Raise InputError, naming the nearest that exist, for heads the model or positions the task does not have."""
        for layer, head in self.all_heads:
            sites.check(model, sites.z(layer), [head])
        for name in self.classes:
            for role in self.positions[name]:
                if role not in task.roles:
                    raise unknown("position", role, task.roles)

    def share(self, model: Any, task: PromptPairs) -> float:
        """The circuit's part of all (head, position) pairs of the clean prompts, real tokens only; mean over prompts.

        1.1 % in the paper. Roles that fall on one token count once.
        """
        self.check(model, task)
        held = torch.zeros(len(task))
        by_head: dict[Head, set[str]] = {}
        for layer, head, role in self.places:
            by_head.setdefault((layer, head), set()).add(role)
        for roles in by_head.values():
            at = torch.stack([task.positions[role].cpu() for role in sorted(roles)], dim=1).sort(1).values
            held += 1 + (at.diff(dim=1) > 0).sum(1)
        total = int(model.cfg.n_layers) * int(model.cfg.n_heads) * task.lengths.cpu()
        return float((held / total).mean())

    def to_json(self) -> dict[str, Any]:
        """Plain data: what `save` writes and `from_json` reads."""
        heads = {name: [head_name(head) for head in group] for name, group in self.heads.items()}
        return {"format": FORMAT, "heads": heads, "positions": {k: list(v) for k, v in self.positions.items()}}

    @classmethod
    def from_json(cls, data: Any) -> HeadCircuit:
        """From what `to_json` gave. Raises InputError for anything else."""
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise InputError(f"this is no stored head circuit: its format is not {FORMAT!r}")
        try:
            heads = {name: tuple(map(_pair, group)) for name, group in data["heads"].items()}
            return cls(heads, {name: tuple(roles) for name, roles in data["positions"].items()})
        except (AttributeError, KeyError, TypeError) as error:
            raise InputError(f"this head circuit is damaged ({error}); store it again") from error

    def save(self, path: str | Path) -> Path:
        """Write the circuit as JSON; returns the path. Raises StorageError when the disk is unwilling."""
        return atomic_write(path, json.dumps(self.to_json(), indent=2) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> HeadCircuit:
        """Read what `save` wrote. Raises InputError for a file that is missing or something else."""
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}; give a file that HeadCircuit.save wrote") from None
        except ValueError:
            raise InputError(f"{path} is no JSON; give a file that HeadCircuit.save wrote") from None
        return cls.from_json(data)

    def __repr__(self) -> str:
        rows = [
            f"  {name:<20} {' '.join(map(head_name, group)) or 'none'}  at {', '.join(self.positions[name])}"
            for name, group in self.heads.items()
        ]
        return "\n".join([f"HeadCircuit({len(self)} heads)", *rows])

    def _keeping(self, wanted: Any) -> HeadCircuit:
        heads = {name: tuple(head for head in group if wanted(name, head)) for name, group in self.heads.items()}
        return HeadCircuit(heads, self.positions)

    def _named(self, part: HeadLike) -> tuple[Head, ...]:
        """The heads that a class, a name or a pair stands for."""
        if isinstance(part, str) and part in self.heads:
            return self.heads[part]
        named = {head_name(head): head for head in self.all_heads}
        wanted = part.removeprefix("a") if isinstance(part, str) else ".".join(map(str, part))
        if wanted not in named:
            raise unknown("head or class in this circuit", part, [*self.heads, *named])
        return (named[wanted],)


def _pair(head: Any) -> Head:
    parts = head.removeprefix("a").split(".") if isinstance(head, str) else list(head)
    if len(parts) != 2 or not all(str(part).isdigit() for part in parts):
        raise InputError(f"{head!r} names no head; write '18.6' or (18, 6) for head 6 of layer 18")
    return int(parts[0]), int(parts[1])


def _roles(roles: Sequence[str] | str) -> tuple[str, ...]:
    return (roles,) if isinstance(roles, str) else tuple(dict.fromkeys(roles))
