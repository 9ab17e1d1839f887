from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from interp.errors import InputError
from interp.results import KINDS, Axis, Plot, Provenance, Result, Values, tables
from tests.results.conftest import EXAMPLES, axis, unchecked


def test_the_frame_is_long_with_its_interval(result: Result) -> None:
    frame = result.to_frame()
    assert list(frame.columns) == ["layer", "head", "value", "low", "high"]
    row = frame[(frame["layer"] == 2) & (frame["head"] == 1)].iloc[0]
    assert row["value"] == pytest.approx(result.values["mean"].data[2, 1].item())
    assert row["high"] == pytest.approx(result.values["high"].data[2, 1].item())


def test_every_example_has_its_row_and_no_interval(result: Result) -> None:
    frame = result.to_frame("each")
    assert list(frame.columns) == ["example", "layer", "head", "value"]
    assert len(frame) == EXAMPLES * 6
    assert frame["value"].tolist() == result.values["each"].data.flatten().tolist()


def test_intervals_belong_to_their_own_values(make: Callable[..., Result]) -> None:
    def numbers(x: float) -> Values:
        return Values(torch.full((2,), x), (axis("layer", 2),))

    several = make(
        {
            "effect": numbers(1),
            "other": numbers(2),
            "other_low": numbers(1.5),
            "other_high": numbers(2.5),
            "low": numbers(0.5),
            "high": numbers(1.5),
            "control": numbers(0),
            "floor": numbers(-1),
        },
        plots=(Plot("bars", "control", x="layer", low="floor"),),
    )
    assert several.to_frame()["low"].tolist() == [0.5, 0.5]
    assert several.to_frame("other")["high"].tolist() == [2.5, 2.5]
    assert several.to_frame("control").columns.tolist() == ["layer", "value", "low"]
    assert several.to_frame("low").columns.tolist() == ["layer", "value"]


def test_scalars_text_and_mixed_labels_make_frames(make: Callable[..., Result]) -> None:
    scalar = make({"x": Values(torch.tensor(3), ())})
    assert scalar.to_frame().to_dict("records") == [{"value": 3}]
    mixed = make({"x": Values(torch.ones(2, dtype=torch.bfloat16), (Axis("row", ("embed", 0)),))})
    assert mixed.to_frame()["row"].tolist() == ["embed", 0]
    empty = make({"x": Values(torch.zeros(0, 2), (axis("a", 0), axis("b", 2)))})
    assert empty.to_frame().columns.tolist() == ["a", "b", "value"]
    assert empty.top().empty


def test_top_ranks_by_size_or_by_value(make: Callable[..., Result]) -> None:
    data = torch.tensor([1.0, -3.0, float("nan"), 2.0, float("inf")])
    ranked = make({"x": Values(data, (axis("head", 5),))})
    assert ranked.top(3)["head"].tolist() == [4, 1, 3]
    assert ranked.top(5, by="signed")["head"].tolist() == [4, 3, 0, 1, 2]
    with pytest.raises(InputError, match="did you mean 'signed'"):
        unchecked(tables.top_frame)(ranked.values["x"], {}, 10, "sign")
    with pytest.raises(InputError, match="at least 1"):
        ranked.top(0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_top_agrees_with_sorting_the_frame(dtype: torch.dtype, make: Callable[..., Result]) -> None:
    data = torch.randint(-3, 4, (7, 5), generator=torch.Generator().manual_seed(0)).to(dtype)
    ranked = make({"x": Values(data, (axis("layer", 7), axis("head", 5)))})
    frame = ranked.to_frame()
    frame["key"] = frame["value"].astype(float).abs()
    expected = frame.sort_values("key", ascending=False, kind="stable").drop(columns="key").reset_index(drop=True)
    assert ranked.top(35).equals(expected)


def test_selecting_narrows_every_value_that_has_the_axis(result: Result) -> None:
    narrow = result.sel(layer=2, head=[1])
    assert narrow.values["mean"].dims == ("head",)
    assert narrow.values["each"].dims == ("example", "head")
    assert narrow.values["baseline"].equal(result.values["baseline"])
    torch.testing.assert_close(narrow.values["mean"].data, result.values["mean"].data[2, [1]])
    assert narrow.settings == result.settings


def test_texts_follow_the_examples(result: Result) -> None:
    assert result.sel(example=[4, 1]).texts == {"tokens": [["a", "Ġé4"], ["a", "Ġé1"]], "title": "x"}
    assert result.sel(example=2).texts["tokens"] == [["a", "Ġé2"]]


def test_selecting_the_unknown_is_refused_with_the_nearest(result: Result) -> None:
    with pytest.raises(InputError, match="no axis 'layers'; did you mean 'layer'"):
        result.sel(layers=1)
    with pytest.raises(InputError, match="axis 'layer' has no label 9; valid: 0, 1, 2"):
        result.sel(layer=9)
    with pytest.raises(InputError, match="no values 'maen'; did you mean 'mean'"):
        result.to_frame("maen")


def test_values_without_the_label_are_left_out(make: Callable[..., Result]) -> None:
    heads = Values(torch.zeros(2), (Axis("writer", ("a0.0", "a0.1")),))
    mlps = Values(torch.zeros(1), (Axis("writer", ("m0",)),))
    both = make({"heads": heads, "mlps": mlps}, plots=(Plot("bars", "heads", x="writer"),))
    assert list(both.sel(writer="m0").values) == ["mlps"]
    assert both.sel(writer="m0").plots == ()


def test_per_example_values_are_found_or_missed_clearly(result: Result, make: Callable[..., Result]) -> None:
    assert result.per_example.equal(result.values["each"])
    with pytest.raises(InputError, match="keeps no values for single examples"):
        _ = make({"x": Values(torch.tensor(1.0), ())}).per_example


def test_settings_are_a_plain_copy(provenance: Provenance) -> None:
    settings = {"layers": (1, 2)}
    made = Result(values={"x": Values(torch.tensor(1.0), ())}, settings=settings, provenance=provenance)
    assert made.settings == {"layers": [1, 2]}
    with pytest.raises(InputError, match=r"settings\.f is a function"):
        Result(values=made.values, settings={"f": lambda: 1}, provenance=provenance)


def test_a_result_without_values_is_refused(make: Callable[..., Result]) -> None:
    with pytest.raises(InputError, match="at least one named value"):
        make({})


def test_subclasses_register_their_kind_and_add_no_fields() -> None:
    class Scores(Result):
        kind = "test-scores"

    assert KINDS.pop("test-scores") is Scores
    with pytest.raises(TypeError, match="needs its own kind"):

        class Nameless(Result): ...

    with pytest.raises(TypeError, match=r"adds fields \['graph'\]"):

        class WithField(Result):
            kind = "test-field"
            graph: int = 0


def test_two_classes_cannot_share_a_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "test-taken", Result)
    with pytest.raises(TypeError, match="'test-taken' of Other is taken by Result"):

        class Other(Result):
            kind = "test-taken"
