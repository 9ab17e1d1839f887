"""Erasing, steering and exchanging that were interrupted go on after the layers that were finished."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformer_lens.tools.analysis import interchange

from interp.probing import align, amnesic, steer_along
from interp.probing import parts as parts_room
from interp.probing.causal import steering
from interp.probing.solving import two_layers
from interp.results import Result
from tests.probing.causal.used_and_unused import ANSWERS, examples, model

ASKED: dict[str, Any] = {"answers": ANSWERS, "n_test": 16, "n_random": 2, "layers": [0, 1]}
TESTS: dict[str, tuple[Callable[..., Result], dict[str, Any], int]] = {
    "amnesic": (amnesic, {"methods": ["leace", "inlp"], "max_rank": 2}, 6),
    "steer_along": (steer_along, {"strengths": (-1, 1)}, 2),
    "align": (align, {"n_pairs": 32, "epochs": 1}, 2),
}
"""Each with its options, and how many parts it has."""


class Counted:
    """Counts the parts that are made, and is interrupted at one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.n, self.stop, self.made = 0, 0, parts_room._of_numbers
        monkeypatch.setattr(parts_room, "_of_numbers", self)
        monkeypatch.setattr(two_layers, "MAX_STEPS", 5)  # how well perceptrons learn is not asked here

    def __call__(self, *given: Any) -> Any:
        self.n += 1
        if self.n == self.stop:
            raise KeyboardInterrupt
        return self.made(*given)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch)


@pytest.mark.parametrize("name", list(TESTS))
def test_an_interrupted_test_goes_on_and_ends_equal_to_the_bit(name: str, counted: Counted, tmp_path: Path) -> None:
    test, own, n_parts = TESTS[name]
    given = {**ASKED, **own}
    whole = test(model(), examples("used"), **given)
    assert counted.n == n_parts
    counted.n, counted.stop = 0, n_parts  # the last part is interrupted, all before it are kept
    with pytest.raises(KeyboardInterrupt):
        test(model(), examples("used"), keep=tmp_path, **given)
    counted.n, counted.stop = 0, 0
    resumed = test(model(), examples("used"), keep=tmp_path, **given)
    assert counted.n == 1
    assert resumed.equal(whole)
    assert {path.suffix for path in tmp_path.rglob("*") if path.is_file()} == {".json", ".safetensors"}
    assert len(list(tmp_path.iterdir())) == n_parts


def test_parts_of_another_question_are_computed_again(counted: Counted, tmp_path: Path) -> None:
    data, given = examples("used"), {**ASKED, "strengths": (1,), "keep": tmp_path}
    steer_along(model(), data, **given)
    regrouped = replace(data, groups=tuple(f"noun {int(group.split()[1]) // 2}" for group in data.groups))
    for other, changed in (
        (data, {"strengths": (2,)}),
        (data, {"n_random": 3}),
        (data, {"seed": 1}),
        (data, {"batch_size": 7}),
        (data, {"probe": "logistic"}),
        (data, {"answers": replace(ANSWERS, of=dict(zip(ANSWERS.of, reversed(ANSWERS.of.values()))))}),
        (regrouped, {}),
        (examples("unused"), {}),
    ):
        counted.n = 0
        steer_along(model(), other, **given | changed)
        assert counted.n == 2, changed
    steer_along(model(), data, **given)
    counted.n = 0
    steer_along(model(), data, **given)
    assert counted.n == 0


def test_a_damaged_part_is_computed_again(counted: Counted, tmp_path: Path) -> None:
    given = {**ASKED, "strengths": (1,), "keep": tmp_path}
    whole = steer_along(model(), examples("used"), **given)
    (arrays,) = (tmp_path / "layer-1").glob("*.safetensors")
    arrays.write_bytes(arrays.read_bytes()[:-8])
    counted.n = 0
    assert steer_along(model(), examples("used"), **given).equal(whole)
    assert counted.n == 1


@pytest.mark.parametrize(
    ("room", "test", "own"), [(steering, steer_along, {}), (interchange, align, {"n_pairs": 32, "epochs": 1})]
)
def test_the_seed_decides_the_random_directions(
    room: Any, test: Callable[..., Result], own: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[set[int]] = []
    original = room.random_basis

    def recorded(d: int, rank: int, seed: int) -> Any:
        drawn[-1].add(seed)
        return original(d, rank, seed)

    monkeypatch.setattr(room, "random_basis", recorded)
    for seed in (0, 1):
        drawn.append(set())
        test(model(), examples("used"), **ASKED, **own, seed=seed)
    assert len(drawn[0]) == len(drawn[1]) == 4  # two draws at each of two layers
    assert not drawn[0] & drawn[1]
