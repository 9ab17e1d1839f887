"""`Result`: the answer to a question asked of a model, with the settings and the provenance that make it evidence."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pandas as pd

from interp.errors import InputError, nearest
from interp.results import notebooks, saving, tables
from interp.results.axes import Selection, Values, is_single
from interp.results.homes import import_home
from interp.results.plain import JSON, plain, same
from interp.results.plots import Plot, check_plot, narrow_plot

R = TypeVar("R", bound="Result")  # not typing.Self, which beartype refuses on methods that are checked one by one

KINDS: dict[str, type[Result]] = {}
"""Every kind of result that has been imported so far."""


@dataclass(frozen=True)
class Provenance:
    """Where an answer comes from: enough to compute it again, and to see what differs when it comes out otherwise."""

    model: Mapping[str, JSON]
    """Id, revision, weight and tokenizer hashes, dtype, device and processing of the model."""
    task: Mapping[str, JSON]
    """What the task says about itself; empty when there was none."""
    seed: int | None
    environment: Mapping[str, JSON]
    """Python, platform, package versions, code commit, threads, device."""
    started: str
    """Time in ISO 8601 with its offset from UTC."""
    ended: str

    def __post_init__(self) -> None:
        for name in ("model", "task", "environment"):
            object.__setattr__(self, name, plain(getattr(self, name), f"provenance.{name}"))


@dataclass(frozen=True, eq=False, kw_only=True)
class Result:
    """Named values, exact settings, provenance and the plots that show them.

    Each method subclasses it with its own `kind` and adds methods and properties. A subclass adds no fields: what it
    has to remember goes into values, settings or texts, so that every result is stored and loaded in one way.
    """

    kind: ClassVar[str] = "result"

    values: Mapping[str, Values]
    """The numbers by name; the first is the headline."""
    settings: Mapping[str, JSON]
    """Exactly what was asked, as plain data."""
    provenance: Provenance
    plots: tuple[Plot, ...] = ()
    texts: Mapping[str, JSON] = field(default_factory=dict)
    """Text that plots need, such as {"tokens": [[...], ...]}: the tokens of each prompt."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        fields = [name for name, kind in inspect.get_annotations(cls).items() if "ClassVar" not in str(kind)]
        if fields:
            raise TypeError(f"{cls.__name__} adds fields {fields} to Result; keep them in values, settings or texts")
        if "kind" not in cls.__dict__:
            raise TypeError(f'{cls.__name__} needs its own kind: write kind: ClassVar[str] = "..." in its body')
        known = KINDS.get(cls.kind)
        # The same class again is a notebook cell or a module that was run twice.
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise TypeError(f"the kind {cls.kind!r} of {cls.__name__} is taken by {known.__name__}; choose another")
        KINDS[cls.kind] = cls

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", dict(self.values))
        object.__setattr__(self, "settings", plain(self.settings, "settings"))
        object.__setattr__(self, "texts", plain(self.texts, "texts"))
        object.__setattr__(self, "plots", tuple(self.plots))
        if not self.values:
            raise InputError("a result needs at least one named value")
        for name, value in self.values.items():
            if not isinstance(value, Values):
                raise InputError(f"the value {name!r} is a {type(value).__name__}; wrap it in Values(data, axes)")
            if not name or name.startswith("__"):
                raise InputError(f"a value cannot be called {name!r}; choose a name that does not start with '__'")
        for plot in self.plots:
            check_plot(plot, self.values)

    # ---- reading -------------------------------------------------------------------------------------------------

    def to_frame(self, name: str | None = None) -> pd.DataFrame:
        """A long table of one of the values (the headline by default): a column for each axis, then "value".

        Columns "low" and "high" follow when the result holds an interval for these values.
        """
        key = self._name(name)
        return tables.frame(self.values[key], tables.bounds_of(key, self.values, self.plots))

    def top(self, n: int = 10, by: tables.Order = "abs", name: str | None = None) -> pd.DataFrame:
        """The n rows of `to_frame(name)` with the largest size ("abs") or value ("signed"), largest first."""
        key = self._name(name)
        return tables.top_frame(self.values[key], tables.bounds_of(key, self.values, self.plots), n, by)

    def leading(self, n: int = 10) -> pd.DataFrame:
        """The n largest headline values, for showing: `top`, also where a kind makes something else of it."""
        return Result.top(self, n)

    @property
    def per_example(self) -> Values:
        """The first values that were kept for every example. Raises InputError when only summaries were kept."""
        for value in self.values.values():
            if "example" in value.dims:
                return value
        raise InputError(f"this {self.kind} result keeps no values for single examples, only {', '.join(self.values)}")

    def sel(self: R, **labels: Selection) -> R:
        """The same result narrowed to some labels: `sel(layer=5)` drops the axis, `sel(layer=[5, 6])` keeps it.

        Values without the axis stay as they are; values whose axis lacks the label are left out. Plots follow where
        they still make sense. Texts with one entry for each example are narrowed with the examples.
        Raises InputError, with the nearest names, for an axis or label that no value has.
        """
        values = dict(self.values)
        texts = dict(self.texts)
        narrowed: set[str] = set()
        for axis, wanted in labels.items():
            self._check_selection(axis, wanted, values)
            if axis == "example":
                texts = _narrow_texts(texts, values, wanted)
            values = _narrow(values, axis, wanted)
            narrowed.add(axis)
        plots = tuple(p for p in (narrow_plot(plot, values, narrowed) for plot in self.plots) if p is not None)
        return self._replace(values=values, texts=texts, plots=plots)

    def figure(self, i: int = 0) -> Any:
        """The i-th plot, drawn: a plotly Figure, or a view with `.html` for attention patterns and highlighted text."""
        from interp import viz  # the one place where a result knows who draws it

        if not -len(self.plots) <= i < len(self.plots):
            raise InputError(f"this {self.kind} result has {len(self.plots)} plots, so there is no number {i}")
        plot = self.plots[i]
        return viz.view(self, plot) if plot.kind in ("attention", "text") else viz.figure(self, plot)

    def _framed(self) -> str:
        """The first plot in a frame of its own, for what shows HTML but knows nothing of plotly."""
        from interp import viz

        figure = self.figure()
        return (figure if isinstance(figure, viz.View) else viz.figure_view(figure))._repr_html_()

    # ---- keeping -------------------------------------------------------------------------------------------------

    def save(self, directory: str | Path) -> Path:
        """Store in `directory` (made if needed), at once or not at all; a result already there is replaced.

        Returns the directory. Raises StorageError when the disk is full or read-only.
        """
        return saving.write(Path(directory).expanduser(), self._description(), self.values)

    def equal(self, other: Result) -> bool:
        """Same kind, values, settings, plots, texts and provenance; only the times may differ."""
        if self.kind != other.kind or list(self.values) != list(other.values):
            return False
        if not all(value.equal(other.values[name]) for name, value in self.values.items()):
            return False
        return same(self._timeless(), other._timeless())

    def _timeless(self) -> dict[str, JSON]:
        description = self._description()
        return description | {"provenance": description["provenance"] | {"started": "", "ended": ""}}

    def _description(self) -> dict[str, JSON]:
        return {
            "kind": self.kind,
            "settings": dict(self.settings),
            "provenance": asdict(self.provenance),
            "plots": [asdict(plot) for plot in self.plots],
            "texts": dict(self.texts),
        }

    # ---- showing -------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        body = "".join(f"\n  {name}: {value!r}" for name, value in self.values.items())
        return f"{type(self).__name__}(kind={self.kind!r}){body}"

    def _repr_html_(self) -> str:
        return notebooks.html(self, self._framed)

    def _ipython_display_(self) -> None:
        notebooks.display(self)

    # ---- helpers -------------------------------------------------------------------------------------------------

    def _name(self, name: str | None) -> str:
        if name is None:
            return next(iter(self.values))
        if name not in self.values:
            raise InputError(f"this {self.kind} result has no values {name!r}{nearest(name, self.values)}")
        return name

    def _check_selection(self, axis: str, wanted: Selection, values: Mapping[str, Values]) -> None:
        """Refuse an axis or a label that no value has."""
        having = [value for value in values.values() if axis in value.dims]
        if not having:
            known = dict.fromkeys(dim for value in values.values() for dim in value.dims)
            raise InputError(f"this {self.kind} result has no axis {axis!r}{nearest(axis, known)}")
        if not any(_has(value, axis, wanted) for value in having):
            having[0].axis(axis).indices(wanted)  # raises and names the labels

    def _replace(self: R, **changes: Any) -> R:
        changed = replace(self, **changes)
        return _keep_kind(changed, self.kind)


def load(directory: str | Path) -> Result:
    """The result stored in `directory`, `equal` to the one that was saved.

    It comes back as the class of its kind, with its methods; one of a package that has not been imported comes back as
    a plain `Result` that keeps its kind. The file names no code: its kind is looked up in the fixed table `HOMES`.
    Raises InputError for a missing or damaged result.
    """
    path = Path(directory).expanduser()
    description, values = saving.read(path)
    kind = description["kind"]
    if kind not in KINDS:
        import_home(kind)
    try:
        result = KINDS.get(kind, Result)(
            values=values,
            settings=description["settings"],
            provenance=Provenance(**description["provenance"]),
            plots=tuple(Plot(**plot) for plot in description["plots"]),
            texts=description["texts"],
        )
    except (KeyError, TypeError) as error:
        raise InputError(f"the result in {path} is damaged ({error}); delete it and compute it again") from error
    return _keep_kind(result, kind)


def _keep_kind(result: R, kind: str) -> R:
    """A result of a kind that nobody imported must not forget its kind when it is saved again."""
    if result.kind != kind:
        object.__setattr__(result, "kind", kind)
    return result


def _has(value: Values, axis: str, wanted: Selection) -> bool:
    labels = set(value.axis(axis).labels)
    return labels >= ({wanted} if is_single(wanted) else set(wanted))  # type: ignore[arg-type]


def _narrow(values: Mapping[str, Values], axis: str, wanted: Selection) -> dict[str, Values]:
    out = {}
    for name, value in values.items():
        if axis not in value.dims:
            out[name] = value
        elif _has(value, axis, wanted):
            out[name] = value.sel(**{axis: wanted})
    return out


def _narrow_texts(texts: Mapping[str, JSON], values: Mapping[str, Values], wanted: Selection) -> dict[str, JSON]:
    """Keep the entries of the chosen examples in every list that has one entry for each example."""
    axis = next(v.axis("example") for v in values.values() if "example" in v.dims)
    rows = axis.indices(wanted)
    return {
        name: [text[i] for i in rows] if isinstance(text, list) and len(text) == len(axis) else text
        for name, text in texts.items()
    }
