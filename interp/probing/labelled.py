"""Tokens with labels: what a probe learns to read.

An example is a place in a prompt (or several named places), a class, a group that must not be torn apart between
training and test (its document, its sentence, its noun), and a word type, by which control tasks are drawn.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from interp.errors import InputError, unknown
from interp.hooks.prompts import PromptTokens, prompt_tokens

SHOWN = 8
"""Classes that are named when examples are printed."""
TOKEN = "token"
"""Name of the position where an example has only one."""


@dataclass(frozen=True, eq=False, repr=False)
class LabelledTokens:
    """Examples of a probing task; make them with `labelled_tokens`, `from_jsonl` or `dataset`.

    tokens: prompts, right-padded. rows: which prompt each example is in. positions: by name, the token of each example.
    labels: index into `classes`. groups, types: one label an example. settings, notes: what provenance and readers
    should know of them.
    """

    name: str
    tokens: PromptTokens
    rows: Int[Tensor, " example"]
    positions: Mapping[str, Int[Tensor, " example"]]
    labels: Int[Tensor, " example"]
    classes: tuple[str, ...]
    groups: tuple[str, ...]
    types: tuple[str, ...]
    group_is: str = "group"
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    seed: int | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        counts = [f"{name} {count}" for name, count in self.counts().items()]
        shown = ", ".join(counts[:SHOWN]) + (f", ... ({len(counts)} in all)" if len(counts) > SHOWN else "")
        groups = f"{len(set(self.groups))} {self.group_is}s"
        return f"LabelledTokens({self.name}: {len(self)} examples in {groups}, at {', '.join(self.positions)}: {shown})"

    def counts(self) -> dict[str, int]:
        """How many examples every class has."""
        found = self.labels.bincount(minlength=len(self.classes)).tolist()
        return dict(zip(self.classes, found))

    def rows_where(self, keep: Sequence[int] | Tensor) -> LabelledTokens:
        """Some of the examples, by their indices."""
        index = torch.as_tensor(keep, dtype=torch.long)
        chosen = index.tolist()
        return replace(
            self,
            rows=self.rows[index],
            positions={name: at[index] for name, at in self.positions.items()},
            labels=self.labels[index],
            groups=tuple(self.groups[i] for i in chosen),
            types=tuple(self.types[i] for i in chosen),
        )

    def only(self, classes: Sequence[str]) -> LabelledTokens:
        """The examples of some classes. Raises InputError for a class that does not exist."""
        for name in classes:
            if name not in self.classes:
                raise unknown("class", name, self.classes)
        kept = tuple(name for name in self.classes if name in classes)
        new = {self.classes.index(name): i for i, name in enumerate(kept)}
        some = self.rows_where([i for i, label in enumerate(self.labels.tolist()) if label in new])
        labels = torch.tensor([new[label] for label in some.labels.tolist()], dtype=torch.long)
        return replace(some, labels=labels, classes=kept)

    def sample(self, n: int, seed: int = 0) -> LabelledTokens:
        """At most `n` of the examples, drawn at random and left in their order."""
        if n < 1:
            raise InputError(f"n={n} examples are none; use at least 1")
        if n >= len(self):
            return self
        drawn = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))[:n]
        return self.rows_where(drawn.sort().values)

    def describe(self) -> dict[str, Any]:
        """What provenance says of the task, as plain data."""
        plain = self.tokens.as_subclass(Tensor).cpu().contiguous()
        places = torch.stack([self.rows, *self.positions.values(), self.labels]).contiguous()
        return {
            "name": self.name,
            "n": len(self),
            "classes": self.counts(),
            "n_groups": len(set(self.groups)),
            "n_types": len(set(self.types)),
            "group_is": self.group_is,
            "positions": list(self.positions),
            "tokens_sha256": hashlib.sha256(plain.numpy().tobytes()).hexdigest(),
            "examples_sha256": hashlib.sha256(places.numpy().tobytes()).hexdigest(),
            "groups_sha256": hashlib.sha256(json.dumps([self.groups, self.types]).encode()).hexdigest(),
            "notes": list(self.notes),
            **self.settings,
        }


def labelled_tokens(
    tokens: Int[Tensor, "prompt pos"],
    labels: Sequence[str],
    positions: Int[Tensor, " example"] | Mapping[str, Int[Tensor, " example"]],
    *,
    rows: Int[Tensor, " row"] | None = None,
    groups: Sequence[str] | None = None,
    types: Sequence[str] | None = None,
    name: str = "given",
    group_is: str = "group",
    settings: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
    seed: int | None = None,
) -> LabelledTokens:
    """Examples out of token tensors.

    labels: class of each example, as text. positions: token of each example in its prompt, or several named ones.
    rows: prompt of each example (default: example i is in prompt i). groups: what must stay together (default: the
    prompt). types: word type (default: the token at the first position). Raises InputError where counts do not match
    or a position lies outside its prompt.
    """
    prompts = tokens if isinstance(tokens, PromptTokens) else prompt_tokens(tokens)
    n = len(labels)
    at = {TOKEN: positions} if isinstance(positions, Tensor) else dict(positions)
    index = torch.arange(len(prompts)) if rows is None else rows.long().cpu()
    given: dict[str, Any] = {"rows (or prompts)": index, **{f"positions {role!r}": where for role, where in at.items()}}
    given |= {what: items for what, items in (("groups", groups), ("types", types)) if items is not None}
    for what, items in given.items():
        if len(items) != n:
            raise InputError(f"there are {n} labels and {len(items)} {what}; give one an example")
    if not n or not at:
        raise InputError("there are no examples; give labels and the positions of their tokens")
    at = {role: where.long().cpu() for role, where in at.items()}
    _check_places(prompts, index, at)
    classes = tuple(sorted(set(labels)))
    numbers = {name: i for i, name in enumerate(classes)}
    first = next(iter(at.values()))
    ids = prompts.as_subclass(Tensor).cpu()[index, first].tolist()
    return LabelledTokens(
        name=name,
        tokens=prompts,
        rows=index,
        positions=at,
        labels=torch.tensor([numbers[label] for label in labels]),
        classes=classes,
        groups=tuple(f"prompt {row}" for row in index.tolist()) if groups is None else tuple(groups),
        types=tuple(str(token) for token in ids) if types is None else tuple(types),
        group_is="prompt" if groups is None else group_is,
        settings=dict(settings or {}),
        notes=tuple(notes),
        seed=seed,
    )


def class_counts(labels: Sequence[str]) -> str:
    """Labels with how often they occur, for messages."""
    return ", ".join(f"{name} {count}" for name, count in Counter(labels).most_common())


def _check_places(prompts: PromptTokens, rows: Tensor, positions: Mapping[str, Tensor]) -> None:
    if bool((rows < 0).any()) or bool((rows >= len(prompts)).any()):
        raise InputError(f"an example is in a prompt that does not exist; the prompts are 0 to {len(prompts) - 1}")
    lengths = prompts.lengths.cpu()[rows]
    for role, at in positions.items():
        wrong = ((at < 0) | (at >= lengths)).nonzero().flatten().tolist()
        if wrong:
            i = wrong[0]
            place = f"{int(at[i])} in a prompt of {int(lengths[i])} tokens"
            raise InputError(f"position {role!r} of example {i} is {place}; positions count from 0")
