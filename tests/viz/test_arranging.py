from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from interp.errors import InputError
from interp.results import Plot, Result
from interp.viz.arranging import arrange, numeric, x_ticks, y_ticks
from tests.viz.conftest import TOKENS, numbers, values

Make = Callable[..., Result]


def test_dimensions_follow_the_roles(make: Make) -> None:
    data = numbers(2, 3, 4)
    plot = Plot("heatmap", "v", x="a", y="c", series="b", low="v", high="v")
    shown = arrange(make({"v": values(data, a=2, b=3, c=4)}, plot), plot, ["b", "c", "a"])
    assert np.array_equal(shown.data, data.permute(1, 2, 0).double().numpy())
    assert shown.low is not None
    assert np.array_equal(shown.low, shown.data)
    assert [axis.name for axis in shown.axes if axis] == ["b", "c", "a"]
    assert shown.places is not None
    assert np.array_equal(data.flatten().double().numpy()[shown.places], shown.data)


def test_open_roles_take_the_axes_that_are_left(make: Make) -> None:
    plot = Plot("heatmap", "v", y="layer")
    shown = arrange(make({"v": values(numbers(5, 2), head=5, layer=2)}), plot, ["layer", None])
    assert [axis.name for axis in shown.axes if axis] == ["layer", "head"]


def test_a_vector_lies_along_x(make: Make) -> None:
    shown = arrange(make({"v": values(numbers(5), head=5)}), Plot("lines", "v"), [None, None])
    assert shown.data.shape == (1, 5)
    assert shown.axes[0] is None


def test_an_axis_of_one_label_is_dropped_and_a_longer_one_refused(make: Make) -> None:
    plot = Plot("lines", "v", x="head")
    assert arrange(make({"v": values(numbers(1, 5), example=1, head=5)}), plot, [None, "head"]).data.shape == (1, 5)
    with pytest.raises(InputError, match="no room for the axis 'example'"):
        arrange(make({"v": values(numbers(3, 5), example=3, head=5)}), plot, ["head"])


def test_unknown_values_name_the_nearest(make: Make) -> None:
    with pytest.raises(InputError, match="effect"):
        arrange(make({"effect": values(numbers(2), head=2)}), Plot("bars", "efect"), ["head"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.bool, torch.int64, torch.float16])
def test_every_dtype_can_be_drawn(make: Make, dtype: torch.dtype) -> None:
    data = torch.tensor([0, 1, 1]).to(dtype)
    assert arrange(make({"v": values(data, head=3)}), Plot("bars", "v"), ["head"]).data.tolist() == [0, 1, 1]


def test_tokens_that_repeat_keep_their_places() -> None:
    ticks = x_ticks(TOKENS, 800)
    assert ticks.positions == list(range(8))
    assert ticks.texts.count(" Mary") == 2


def test_labels_are_turned_and_thinned_when_they_do_not_fit() -> None:
    assert x_ticks(TOKENS, 800).angle == 0
    assert x_ticks(TOKENS * 4, 800).angle == -45
    crowded = x_ticks(TOKENS * 20, 800)
    assert crowded.angle == -90
    assert 800 / len(crowded.positions) >= 11
    assert [int(text) for text in x_ticks(list(range(300)), 800).texts][:3] == [0, 20, 40]
    assert len(y_ticks(list(range(30)), 30 * 17).texts) == 30
    assert len(y_ticks(list(range(30)), 30 * 9).texts) == 15


def test_labels_that_are_numbers_keep_their_distances() -> None:
    assert numeric([1, 10, 100]) == [1, 10, 100]
    assert numeric(["0.5", "2"]) == [0.5, 2]
    assert numeric(["a", 1]) is None
    assert numeric(["1", "1.0"]) is None
