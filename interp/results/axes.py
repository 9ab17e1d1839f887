"""Named numbers: `Values` is a tensor whose axes have names and whose positions have labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from interp.errors import InputError, nearest

Label = str | int
Selection = Label | Sequence[Label]

_RESERVED = ("value", "low", "high")  # columns of `to_frame`


@dataclass(frozen=True)
class Axis:
    """One axis of a tensor: its name and one label (text or whole number) for each position along it."""

    name: str
    labels: tuple[Label, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise InputError(f"an axis needs a name of at least one letter, not {self.name!r}")
        if self.name in _RESERVED:
            raise InputError(f"the axis name {self.name!r} is taken by a column of to_frame(); choose another name")
        object.__setattr__(self, "labels", tuple(_label(label, self.name) for label in self.labels))

    def __len__(self) -> int:
        return len(self.labels)

    def indices(self, wanted: Selection) -> list[int]:
        """Positions that carry the wanted label or labels, in the order asked. Raises for a label not on the axis."""
        asked = _as_labels(wanted, self.name)
        places: dict[Label, list[int]] = {}
        for i, label in enumerate(self.labels):
            places.setdefault(label, []).append(i)
        for label in asked:
            if label not in places:
                raise InputError(f"axis {self.name!r} has no label {label!r}{nearest(label, self.labels)}")
        return [i for label in asked for i in places[label]]


@dataclass(frozen=True, eq=False)
class Values:
    """A tensor with named axes. `unit` is what one unit of the numbers means ("nats", "logit difference", ...).

    The data are kept on the CPU, detached, contiguous and not copied: whoever makes a Values hands the tensor over.
    """

    data: Tensor
    axes: tuple[Axis, ...]
    unit: str = ""
    description: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.data, Tensor):
            raise InputError(f"values need a torch tensor, not a {type(self.data).__name__}; use torch.as_tensor(...)")
        if self.data.layout != torch.strided or self.data.is_complex() or self.data.is_quantized:
            raise InputError("values need a dense tensor of real numbers; call .to_dense() or split it into two values")
        # as_subclass: tensors of tokens know their prompts, numbers in a result do not
        data = self.data.detach().as_subclass(Tensor).cpu().contiguous()
        object.__setattr__(self, "data", data)
        object.__setattr__(self, "axes", tuple(self.axes))
        _check_axes(data, self.axes)

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the axes, in order."""
        return tuple(axis.name for axis in self.axes)

    def axis(self, name: str) -> Axis:
        """The axis of that name. Raises, with the nearest names, when there is none."""
        for axis in self.axes:
            if axis.name == name:
                return axis
        raise InputError(f"there is no axis {name!r}{nearest(name, self.dims)}")

    def sel(self, **labels: Selection) -> Values:
        """Narrow to the given labels: one label drops its axis, a list of labels keeps it, in the order given."""
        out = self
        for name, wanted in labels.items():
            out = out._sel_one(out.axis(name), wanted)
        return out

    def _sel_one(self, axis: Axis, wanted: Selection) -> Values:
        dim = self.dims.index(axis.name)
        rows = axis.indices(wanted)
        if not is_single(wanted):
            kept = Axis(axis.name, tuple(axis.labels[i] for i in rows))
            data = self.data.index_select(dim, torch.tensor(rows, dtype=torch.long))
            return replace(self, data=data, axes=(*self.axes[:dim], kept, *self.axes[dim + 1 :]))
        if len(rows) > 1:
            times = f"the label {wanted!r} stands {len(rows)} times on axis {axis.name!r}"
            raise InputError(f"{times}; select [{wanted!r}] to keep them all")
        # A copy: a narrow view would keep the whole tensor in memory.
        data = self.data.select(dim, rows[0]).clone()
        return replace(self, data=data, axes=(*self.axes[:dim], *self.axes[dim + 1 :]))

    def equal(self, other: Values) -> bool:
        """Same axes, unit, description, dtype and numbers, with NaN equal to NaN."""
        same_words = (self.axes, self.unit, self.description) == (other.axes, other.unit, other.description)
        return same_words and equal_tensors(self.data, other.data)

    def __repr__(self) -> str:
        axes = ", ".join(f"{a.name}: {len(a)}" for a in self.axes)
        unit = f", unit={self.unit!r}" if self.unit else ""
        return f"Values({axes or self.data.item()}{unit}, {str(self.data.dtype).removeprefix('torch.')})"


def is_single(wanted: Selection) -> bool:
    """Whether a selection is one label (which drops its axis) and not a list of them."""
    return isinstance(wanted, str) or not hasattr(wanted, "__iter__")


def equal_tensors(a: Tensor, b: Tensor) -> bool:
    """Same dtype, shape and numbers, with NaN equal to NaN."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    if not a.is_floating_point():
        return torch.equal(a, b)
    return bool(((a == b) | (a.isnan() & b.isnan())).all())


def _label(label: object, axis: str) -> Label:
    if isinstance(label, str):
        return label
    if isinstance(label, bool) or not hasattr(label, "__index__"):
        raise InputError(f"labels of axis {axis!r} must be text or whole numbers, not {label!r}; write it as text")
    return int(label.__index__())


def _as_labels(wanted: Selection, axis: str) -> list[Label]:
    items = [wanted] if is_single(wanted) else list(wanted)  # type: ignore[arg-type]
    return [_label(item, axis) for item in items]


def _check_axes(data: Tensor, axes: tuple[Axis, ...]) -> None:
    names = [axis.name for axis in axes]
    if data.ndim != len(axes):
        shape = tuple(data.shape)
        raise InputError(f"data of shape {shape} needs {data.ndim} axes, but {len(axes)} were given: {names}")
    for size, axis in zip(data.shape, axes, strict=True):
        if size != len(axis):
            raise InputError(f"axis {axis.name!r} has {len(axis)} labels but the data have size {size} there")
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"the axis name {name!r} is used twice; give every axis its own name")
