"""What a circuit of heads holds, how it is changed, counted, stored, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from interp.circuits import HeadCircuit
from interp.errors import InputError
from tests.circuits.one_model_at_a_time import grouped_pairs
from tests.tiny_models import tiny

HEADS = {"duplicate": ((0, 1), (0, 3)), "mover": ((2, 0),)}
POSITIONS = {"duplicate": ("second",), "mover": ("end", "first")}


@pytest.fixture
def made() -> HeadCircuit:
    return HeadCircuit(HEADS, POSITIONS)


def test_places_are_heads_at_the_positions_of_their_classes(made: HeadCircuit) -> None:
    assert made.places == {(0, 1, "second"), (0, 3, "second"), (2, 0, "end"), (2, 0, "first")}
    assert made.all_heads == ((0, 1), (0, 3), (2, 0))
    assert len(made) == 3
    assert made.class_of((2, 0)) == "mover"


def test_a_head_of_two_classes_counts_at_the_positions_of_both() -> None:
    both = HeadCircuit({"a": ((0, 1),), "b": ((0, 1),)}, {"a": ("first",), "b": ("end",)})
    assert both.places == {(0, 1, "first"), (0, 1, "end")}
    assert (len(both), both.class_of((0, 1))) == (1, "a, b")
    assert both.without("a").places == set()


def test_parts_are_taken_by_name_of_head_or_class(made: HeadCircuit) -> None:
    assert made.without("0.1").all_heads == ((0, 3), (2, 0))
    assert made.without((0, 1), "mover").all_heads == ((0, 3),)
    assert made.only("duplicate") == made.without("mover")
    assert made.only("a2.0").places == {(2, 0, "end"), (2, 0, "first")}
    assert made.classes == ("duplicate", "mover")
    assert made.without("mover").classes == ("duplicate",)


def test_union_and_intersection_go_by_head_and_position(made: HeadCircuit) -> None:
    other = HeadCircuit({"mover": ((2, 0), (1, 1)), "new": ((0, 1),)}, {"mover": ("first", "end"), "new": ("end",)})
    assert made.union(other).places == made.places | other.places
    assert made.union(other).heads["mover"] == ((2, 0), (1, 1))
    assert made.intersection(other).all_heads == ((2, 0),)
    assert made.with_heads("mover", [(1, 2)]).places >= {(1, 2, "end"), (1, 2, "first")}
    assert made.with_heads("more", [(1, 2)], "end").positions["more"] == ("end",)
    with pytest.raises(InputError, match="'mover' is kept at end, first in one and at end in the other"):
        made.union(HeadCircuit({"mover": ()}, {"mover": ("end",)}))


def test_equal_circuits_are_equal_and_hash_alike(made: HeadCircuit) -> None:
    again = HeadCircuit({"mover": ((2, 0), (2, 0)), "duplicate": ((0, 1), (0, 3))}, POSITIONS)
    assert made == again
    assert hash(made) == hash(again)
    assert made != made.without("0.1")


def test_it_survives_a_file(made: HeadCircuit, tmp_path: Path) -> None:
    assert HeadCircuit.load(made.save(tmp_path / "circuit.json")) == made
    damaged = [made.to_json() | part for part in ({"heads": {"duplicate": ["x.1"], "mover": []}}, {"heads": 3})]
    for data, message in zip(damaged, ("'x.1' names no head", "damaged")):
        with pytest.raises(InputError, match=message):
            HeadCircuit.from_json(data)
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(InputError, match="no stored head circuit"):
        HeadCircuit.load(tmp_path / "other.json")
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(InputError, match="no JSON"):
        HeadCircuit.load(tmp_path / "bad.json")
    with pytest.raises(InputError, match="cannot read"):
        HeadCircuit.load(tmp_path / "missing.json")


def test_its_share_counts_tokens_that_are_there_once() -> None:
    model, task = tiny("gpt2"), grouped_pairs(1)
    one = HeadCircuit({"a": ((0, 1), (1, 1))}, {"a": ("end",)})
    expected = sum(2 / (12 * length) for length in (7, 9, 9)) / 3
    assert one.share(model, task) == pytest.approx(expected)
    # "end" of the metric and a role on the same token are one place.
    twice = HeadCircuit({"a": ((0, 1),)}, {"a": ("first", "second")})
    assert twice.share(model, task) == pytest.approx(expected)


def test_it_shows_its_classes(made: HeadCircuit) -> None:
    lines = repr(made).splitlines()
    assert lines[0] == "HeadCircuit(3 heads)"
    assert lines[1].split() == ["duplicate", "0.1", "0.3", "at", "second"]
    assert "none" in repr(made.without("mover"))


@pytest.mark.parametrize(
    ("heads", "positions", "message"),
    [
        ({"a": ((0, 1),)}, {}, "class 'a' has no positions"),
        ({"a": ((0, 1),)}, {"a": ("end",), "aa": ("end",)}, "no class of heads 'aa'; did you mean 'a'"),
        ({"a": ((0, -1),)}, {"a": ("end",)}, "names no head"),
    ],
)
def test_what_is_no_circuit_is_refused(heads: dict, positions: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        HeadCircuit(heads, positions)


def test_heads_and_positions_that_do_not_exist_are_refused(made: HeadCircuit) -> None:
    model, task = tiny("gpt2"), grouped_pairs(1)
    made.check(model, task)
    with pytest.raises(InputError, match="3"):
        HeadCircuit({"a": ((3, 0),)}, {"a": ("end",)}).check(model, task)
    with pytest.raises(InputError, match="no position 'frist'; did you mean 'first'"):
        HeadCircuit({"a": ((2, 0),)}, {"a": ("frist",)}).check(model, task)
    with pytest.raises(InputError, match=r"no head or class in this circuit '9\.9'"):
        made.without("9.9")
    with pytest.raises(InputError, match="4"):
        HeadCircuit.of(model, {"a": ["0.4"]}, {"a": "end"})
    assert HeadCircuit.of(model, {"a": ["0.3"], "b": []}, {"a": "end", "b": "end"}).heads == {"a": ((0, 3),), "b": ()}
