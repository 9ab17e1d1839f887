"""Folds keep groups together and spread classes; leaks and impossible splits are refused."""

from __future__ import annotations

import pytest
import torch

from interp.errors import InputError
from interp.probing import labelled_tokens, without_duplicates
from interp.probing.splitting import check_classes, check_duplicates, grouped_folds, numbered


@pytest.mark.parametrize("seed", range(5))
def test_groups_stay_together_and_folds_are_even(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    groups = torch.randint(0, 40, (400,), generator=generator)
    groups = groups.unique(return_inverse=True)[1]
    labels = (torch.rand(400, generator=generator) < 0.2).long()
    folds = grouped_folds(labels, groups, 4, seed)
    for group in range(int(groups.max()) + 1):
        assert len(folds[groups == group].unique()) == 1
    sizes = folds.bincount(minlength=4)
    assert int(sizes.min()) > 80
    shares = torch.stack([labels[folds == fold].float().mean() for fold in range(4)])
    assert float(shares.max() - shares.min()) < 0.08


def test_the_seed_decides() -> None:
    groups, labels = torch.arange(60) // 2, torch.arange(60) % 3
    assert torch.equal(grouped_folds(labels, groups, 3, 1), grouped_folds(labels, groups, 3, 1))
    assert not torch.equal(grouped_folds(labels, groups, 3, 1), grouped_folds(labels, groups, 3, 2))


def data_of(labels: list[str], groups: list[str], tokens: torch.Tensor | None = None):
    n = len(labels)
    rows = torch.arange(3 * n).reshape(n, 3) % 90 if tokens is None else tokens
    return labelled_tokens(rows, labels, torch.full((n,), 1), groups=groups, group_is="document")


@pytest.mark.parametrize(
    ("labels", "groups", "message"),
    [
        (["a"] * 6, list("uvwxyz"), "all 6 labels are 'a'"),
        (["a", "b", "a"], list("xyz"), "3 examples are fewer than the 4 folds"),
        (["a", "b"] * 3, list("xxyyzz"), "3 documents cannot be divided into 4 folds"),
        (["a"] * 5 + ["b"] * 2, list("uvwxyzz"), "class 'b' occurs in 1 documents, fewer than the 4 folds.*--classes"),
    ],
)
def test_what_cannot_be_split_is_refused(labels: list[str], groups: list[str], message: str) -> None:
    data = data_of(labels, groups)
    with pytest.raises(InputError, match=message):
        check_classes(data, numbered(data.groups), 4, "document")


def test_equal_beginnings_in_different_groups_are_found_and_can_be_removed() -> None:
    tokens = torch.tensor([[5, 6, 7], [5, 6, 8], [5, 7, 7], [4, 6, 7]])
    leaking = data_of(list("abab"), ["x", "y", "z", "w"], tokens)
    with pytest.raises(
        InputError,
        match=r"1 examples have the same tokens up to position 'token' .*\(examples 0 and 1\).*--drop-duplicates \(in",
    ):
        check_duplicates(leaking, numbered(leaking.groups), "document")
    together = data_of(list("abab"), ["x", "x", "z", "w"], tokens)
    check_duplicates(together, numbered(together.groups), "document")
    left = without_duplicates(leaking)
    assert left.groups == ("x", "z", "w")
    check_duplicates(left, numbered(left.groups), "document")
