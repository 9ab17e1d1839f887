"""Folds that keep groups together, and examples that would leak between them.

Tokens of one document, or occurrences of one word, resemble each other. If they stand in training and test, a probe is
rewarded for remembering them; so whole groups go into one fold.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from interp.errors import InputError
from interp.probing.labelled import LabelledTokens

SHOWN = 3


def numbered(names: Sequence[str] | Sequence[int]) -> Int[Tensor, " example"]:
    """Names, or numbers with gaps, as numbers from 0, in the order in which they first occur."""
    codes = {name: i for i, name in enumerate(dict.fromkeys(names))}
    return torch.tensor([codes[name] for name in names])


def grouped_folds(
    labels: Int[Tensor, " example"], groups: Int[Tensor, " example"], n_folds: int, seed: int
) -> Int[Tensor, " example"]:
    """The fold of every example: whole groups, with sizes and classes spread as evenly as that allows.

    Groups are dealt out from the largest on, each to the fold in which its classes are rarest so far (ties at random),
    as in scikit-learn's StratifiedGroupKFold. Raises InputError for fewer groups than folds.
    """
    n_groups, n_classes = int(groups.max()) + 1, int(labels.max()) + 1
    if n_folds < 2 or n_groups < n_folds:
        raise InputError(
            f"{n_groups} groups cannot be divided into {n_folds} folds; use at least 2, and no more than groups"
        )
    counts = np.zeros((n_groups, n_classes))
    np.add.at(counts, (groups.numpy(), labels.numpy()), 1)
    totals = counts.sum(0)
    order = np.random.default_rng(seed).permutation(n_groups)
    order = order[np.argsort(-counts[order].sum(1), kind="stable")]
    filled = np.zeros((n_folds, n_classes))
    fold_of = np.zeros(n_groups, dtype=np.int64)
    for group in order:
        share = (filled + counts[group]) / totals.clip(1)
        without = filled / totals.clip(1)
        cost = (share**2 - without**2).sum(1) + 1e-9 * filled.sum(1)
        fold_of[group] = int(cost.argmin())
        filled[fold_of[group]] += counts[group]
    return torch.from_numpy(fold_of)[groups]


def check_classes(data: LabelledTokens, groups: Int[Tensor, " example"], n_folds: int, group_is: str) -> None:
    """Refuse what cannot be learnt or tested: one class only, or a class in fewer groups than folds."""
    present = [name for name, count in data.counts().items() if count]
    if len(present) < 2:
        raise InputError(f"all {len(data)} labels are {present[0]!r}; a probe needs at least two classes")
    if len(data) < n_folds:
        raise InputError(
            f"{len(data)} examples are fewer than the {n_folds} folds; give more examples or use fewer folds"
        )
    n_groups = int(groups.max()) + 1
    if n_groups < n_folds:
        raise InputError(
            f"{n_groups} {group_is}s cannot be divided into {n_folds} folds; use fewer folds or more {group_is}s"
        )
    for i, name in enumerate(data.classes):
        within = len(set(groups[data.labels == i].tolist()))
        if within < n_folds:
            raise InputError(
                f"class {name!r} occurs in {within} {group_is}s, fewer than the {n_folds} folds, so that some probe "
                "would never see it; leave it out with --classes (in Python data.only([...])), use fewer folds, or "
                "give more examples"
            )


def check_duplicates(data: LabelledTokens, groups: Int[Tensor, " example"], group_is: str) -> None:
    """Refuse equal beginnings in different groups.

    In a causal model the activations at a token depend on nothing after it: two examples with the same tokens up to
    their position have the very same activations, and in training and test at once they would be leaked.
    """
    plain = data.tokens.as_subclass(Tensor).cpu().numpy()
    for role, at in data.positions.items():
        seen: dict[bytes, int] = {}
        leaked = []
        for i, (row, position) in enumerate(zip(data.rows.tolist(), at.tolist())):
            other = seen.setdefault(plain[row, : position + 1].tobytes(), i)
            if groups[other] != groups[i]:
                leaked.append((other, i))
        if leaked:
            shown = ", ".join(f"{a} and {b}" for a, b in leaked[:SHOWN])
            raise InputError(
                f"{len(leaked)} examples have the same tokens up to position {role!r} as one of another {group_is} "
                f"(examples {shown}), so they would stand in training and test at once; remove them with "
                "--drop-duplicates (in Python interp.probing.without_duplicates(data)), or put them into one group"
            )


def without_duplicates(data: LabelledTokens) -> LabelledTokens:
    """The examples without those whose tokens up to one of their positions occurred before."""
    seen: set[tuple[str, bytes]] = set()
    kept = []
    for i, keys in enumerate(_beginnings(data)):
        if not keys & seen:
            kept.append(i)
        seen |= keys
    return data if len(kept) == len(data) else data.rows_where(kept)


def n_contradicted(data: LabelledTokens) -> int:
    """How many examples have the tokens of an earlier one, up to one of their positions, but another label."""
    labels: dict[tuple[str, bytes], int] = {}
    of_each = zip(_beginnings(data), data.labels.tolist())
    return sum(any(labels.setdefault(key, label) != label for key in keys) for keys, label in of_each)


def _beginnings(data: LabelledTokens) -> Iterator[set[tuple[str, bytes]]]:
    """Of every example its tokens up to each of its positions, with the position's name."""
    plain = data.tokens.as_subclass(Tensor).cpu().numpy()
    for i, row in enumerate(data.rows.tolist()):
        yield {(role, plain[row, : int(at[i]) + 1].tobytes()) for role, at in data.positions.items()}
