from __future__ import annotations

import numpy as np
import pytest
import torch

from interp.errors import InputError
from interp.results import Axis, Values
from tests.results.conftest import unchecked


def values() -> Values:
    return Values(torch.arange(6.0).reshape(2, 3), (Axis("layer", (4, 5)), Axis("role", ("IO", "S1", "end"))))


@pytest.mark.parametrize(
    ("shape", "axes", "sentence"),
    [
        ((2, 3), (Axis("layer", (0, 1)),), "needs 2 axes, but 1 were given"),
        ((2, 3), (Axis("layer", (0, 1)), Axis("head", (0, 1))), "axis 'head' has 2 labels but the data have size 3"),
        ((2, 2), (Axis("layer", (0, 1)), Axis("layer", (0, 1))), "'layer' is used twice"),
    ],
)
def test_axes_that_do_not_fit_are_refused(shape: tuple[int, ...], axes: tuple[Axis, ...], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        Values(torch.zeros(shape), axes)


def test_axis_labels_are_text_or_whole_numbers() -> None:
    labels = unchecked(Axis)("layer", tuple(np.arange(2))).labels
    assert labels == (0, 1)
    assert type(labels[0]) is int
    with pytest.raises(InputError, match=r"0\.5; write it as text"):
        unchecked(Axis)("coefficient", (0.5,))
    with pytest.raises(InputError, match="taken by a column"):
        Axis("value", (0,))


def test_values_are_detached_from_the_model() -> None:
    weight = torch.ones(2, 3, requires_grad=True)
    kept = Values((weight * 2).T, (Axis("a", (0, 1, 2)), Axis("b", (0, 1)))).data
    assert not kept.requires_grad
    assert kept.is_contiguous()


def test_tensor_subclasses_are_left_behind() -> None:
    class Tokens(torch.Tensor): ...

    tokens = torch.zeros(2).as_subclass(Tokens)
    assert type(Values(tokens, (Axis("a", (0, 1)),)).data) is torch.Tensor


def test_data_that_are_no_dense_real_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="dense tensor of real numbers"):
        Values(torch.zeros(2, dtype=torch.complex64), (Axis("a", (0, 1)),))
    with pytest.raises(InputError, match="dense tensor of real numbers"):
        Values(torch.eye(2).to_sparse(), (Axis("a", (0, 1)), Axis("b", (0, 1))))


def test_one_label_drops_the_axis_and_a_list_keeps_it_in_its_order() -> None:
    one = values().sel(layer=5, role=["end", "IO"])
    assert one.dims == ("role",)
    assert one.axes[0].labels == ("end", "IO")
    assert one.data.tolist() == [5.0, 3.0]


def test_empty_selection_keeps_an_empty_axis() -> None:
    assert tuple(values().sel(role=[]).data.shape) == (2, 0)


def test_unknown_names_are_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="no axis 'rolle'; did you mean 'role'"):
        values().sel(rolle="IO")
    with pytest.raises(InputError, match="axis 'role' has no label 'S11'; did you mean 'S1'"):
        values().sel(role="S11")
    with pytest.raises(InputError, match="axis 'layer' has no label 3"):
        values().sel(layer=[4, 3])


def test_a_label_that_stands_twice_is_selected_by_a_list_only() -> None:
    repeated = Values(torch.tensor([1, 2, 3]), (Axis("token", ("the", "cat", "the")),))
    assert repeated.sel(token=["the"]).data.tolist() == [1, 3]
    with pytest.raises(InputError, match="stands 2 times"):
        repeated.sel(token="the")


def test_a_narrowed_slice_does_not_keep_the_whole_tensor_in_memory() -> None:
    whole = Values(torch.zeros(100, 1000), (Axis("a", tuple(range(100))), Axis("b", tuple(range(1000)))))
    assert whole.sel(a=3).data.untyped_storage().nbytes() == 4000


def test_equality_knows_nan_dtype_labels_and_units() -> None:
    axes = (Axis("a", (0, 1)),)
    first = Values(torch.tensor([float("nan"), 1.0]), axes)
    assert first.equal(Values(torch.tensor([float("nan"), 1.0]), axes))
    assert not first.equal(Values(torch.tensor([float("nan"), 2.0]), axes))
    assert not first.equal(Values(torch.tensor([0.0, 1.0]), axes))
    assert not first.equal(Values(first.data.double(), axes))
    assert not first.equal(Values(first.data, (Axis("a", (0, 2)),)))
    assert not first.equal(Values(first.data, axes, unit="nats"))
