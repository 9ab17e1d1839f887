"""How two runs differ: in what was asked, in where it was computed, and in the numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from interp.errors import InputError
from interp.results import Result, Values, load
from interp.results.plain import plain, same
from interp.runs.listing import find_run, show_run

Row = dict[str, Any]


@dataclass(frozen=True)
class RunDiff:
    """The differences of two runs, as rows for tables. Equal settings are left out, equal numbers are not.

    config:      {"setting", "a", "b"}; nested settings are named "task.n"
    environment: {"setting", "a", "b"}
    values:      {"result", "values", "count", "differing", "largest", "mean", "note"}: over the numbers of both runs on
                 common labels, how many there are and how many differ, and the largest and mean |a - b|
    """

    a: Path
    b: Path
    config: list[Row]
    environment: list[Row]
    values: list[Row]


def diff_runs(a: str | Path, b: str | Path, root: str | Path = "runs") -> RunDiff:
    """Compare two runs, named as in `find_run`. Raises InputError when one of them is not there."""
    first, second = find_run(a, root), find_run(b, root)
    shown = [show_run(first), show_run(second)]
    return RunDiff(
        a=first,
        b=second,
        config=_differences(shown[0]["config"], shown[1]["config"]),
        environment=_differences(shown[0]["environment"], shown[1]["environment"]),
        values=_all_values(first, second, *(tuple(step["name"] for step in s["steps"]) for s in shown)),
    )


def _differences(a: Row, b: Row) -> list[Row]:
    flat_a, flat_b = _flatten(plain(a)), _flatten(plain(b))
    missing = "(not set)"
    rows = ({"setting": k, "a": flat_a.get(k, missing), "b": flat_b.get(k, missing)} for k in {**flat_a, **flat_b})
    return [row for row in rows if not same(row["a"], row["b"])]


def _flatten(settings: Row, prefix: str = "") -> Row:
    flat: Row = {}
    for name, value in settings.items():
        flat.update(_flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value})
    return flat


def _all_values(a: Path, b: Path, steps_a: tuple[str, ...], steps_b: tuple[str, ...]) -> list[Row]:
    rows = []
    for step in dict.fromkeys([*steps_a, *steps_b]):
        if step not in steps_a or step not in steps_b:
            rows.append(_row(step, "", note=f"only in {'a' if step in steps_a else 'b'}"))
            continue
        try:
            rows += _result_rows(step, load(a / "results" / step), load(b / "results" / step))
        except InputError as error:
            rows.append(_row(step, "", note=str(error)))
    return rows


def _result_rows(step: str, a: Result, b: Result) -> list[Row]:
    rows = []
    for name in dict.fromkeys([*a.values, *b.values]):
        if name in a.values and name in b.values:
            rows.append(_compare(step, name, a.values[name], b.values[name]))
        else:
            rows.append(_row(step, name, note=f"only in {'a' if name in a.values else 'b'}"))
    return rows


def _compare(step: str, name: str, a: Values, b: Values) -> Row:
    if a.dims != b.dims:
        return _row(step, name, note=f"axes differ: {', '.join(a.dims)} and {', '.join(b.dims)}")
    note = ""
    if a.axes != b.axes:
        if any(len(set(x.labels)) < len(x) or len(set(y.labels)) < len(y) for x, y in zip(a.axes, b.axes, strict=True)):
            return _row(step, name, note="labels differ, and some stand twice")
        common = {x.name: [t for t in x.labels if t in y.labels] for x, y in zip(a.axes, b.axes, strict=True)}
        a, b = a.sel(**common), b.sel(**common)
        note = "on common labels only"
    return _row(step, name, note=note) | _numbers(a, b)


def _numbers(a: Values, b: Values) -> Row:
    x, y = a.data.double().flatten(), b.data.double().flatten()
    same = (x == y) | (x.isnan() & y.isnan())
    distance = torch.where(same, torch.zeros_like(x), (x - y).abs())  # equal infinities have no distance either
    if not len(x):
        return {"count": 0, "differing": 0}
    return {
        "count": len(x),
        "differing": int((~same).sum()),
        "largest": float(distance.max()),
        "mean": float(distance.mean()),
    }


def _row(step: str, name: str, note: str) -> Row:
    numbers = dict.fromkeys(("count", "differing", "largest", "mean"))
    return {"result": step, "values": name, **numbers, "note": note}
