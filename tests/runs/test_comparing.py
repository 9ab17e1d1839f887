from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from interp.results import Axis, Provenance, Result, Values
from interp.runs import RunDiff, diff_runs, open_run
from tests.runs.conftest import make_result


def compare(
    root: Path, a: dict[str, Result], b: dict[str, Result], configs: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
) -> RunDiff:
    directories = []
    for config, results in zip(configs, (a, b), strict=True):
        with open_run("x", config, root=root) as run:
            for step, result in results.items():
                run.step(step, lambda result=result: result)
        directories.append(run.directory)
    return diff_runs(*directories, root=root)


def result(**values: Values) -> Result:
    return Result(values=values, settings={}, provenance=Provenance({}, {}, 0, {}, "", ""))


def rows(diff: RunDiff) -> dict[str, dict[str, Any]]:
    return {row["values"] or row["result"]: row for row in diff.values}


def test_settings_that_differ_are_listed_by_their_full_name(tmp_path: Path) -> None:
    a = {"n": 1, "same": [1], "task": {"name": "ioi", "seed": 0}, "nan": float("nan"), "only": None}
    b = {"n": 1.0, "same": [1], "task": {"name": "ioi", "seed": 1}, "nan": float("nan")}
    diff = compare(tmp_path, {}, {}, (a, b))
    assert diff.config == [
        {"setting": "n", "a": 1, "b": 1.0},
        {"setting": "task.seed", "a": 0, "b": 1},
        {"setting": "only", "a": None, "b": "(not set)"},
    ]
    assert diff.environment == []


def test_numbers_are_compared_by_name(tmp_path: Path) -> None:
    found = rows(compare(tmp_path, {"heads": make_result()}, {"heads": make_result(0.25), "more": make_result()}))
    assert found["effect"] | {"note": ""} == {
        "result": "heads",
        "values": "effect",
        "count": 3,
        "differing": 3,
        "largest": 0.25,
        "mean": 0.25,
        "note": "",
    }
    assert found["more"]["note"] == "only in b"


def test_nan_and_infinity_equal_themselves(tmp_path: Path) -> None:
    axes = (Axis("a", (0, 1, 2)),)
    inf, nan = float("inf"), float("nan")
    first = result(x=Values(torch.tensor([nan, inf, 1.0]), axes), y=Values(torch.tensor([nan, 1.0, 1.0]), axes))
    second = result(x=Values(torch.tensor([nan, inf, 3.0]), axes), y=Values(torch.tensor([0.0, 1.0, 1.0]), axes))
    found = rows(compare(tmp_path, {"s": first}, {"s": second}))
    assert (found["x"]["differing"], found["x"]["largest"]) == (1, 2.0)
    assert found["y"]["differing"] == 1
    assert found["y"]["largest"] != found["y"]["largest"]


def test_only_common_labels_are_compared(tmp_path: Path) -> None:
    first = result(x=Values(torch.tensor([1.0, 2.0, 3.0]), (Axis("head", ("a", "b", "c")),)))
    second = result(x=Values(torch.tensor([3.0, 5.0]), (Axis("head", ("c", "b")),)))
    row = rows(compare(tmp_path, {"s": first}, {"s": second}))["x"]
    assert (row["count"], row["largest"], row["note"]) == (2, 3.0, "on common labels only")


def test_what_cannot_be_compared_says_why(tmp_path: Path) -> None:
    first = result(
        x=Values(torch.zeros(1), (Axis("layer", (0,)),)),
        gone=Values(torch.tensor(1.0), ()),
        twice=Values(torch.zeros(2), (Axis("token", ("a", "a")),)),
        none=Values(torch.zeros(1), (Axis("token", ("a",)),)),
    )
    second = result(
        x=Values(torch.zeros(1), (Axis("head", (0,)),)),
        twice=Values(torch.zeros(1), (Axis("token", ("a",)),)),
        none=Values(torch.zeros(1), (Axis("token", ("b",)),)),
    )
    found = rows(compare(tmp_path, {"s": first}, {"s": second}))
    assert found["x"]["note"] == "axes differ: layer and head"
    assert found["gone"]["note"] == "only in a"
    assert found["twice"]["note"] == "labels differ, and some stand twice"
    assert (found["none"]["count"], found["none"]["largest"]) == (0, None)
