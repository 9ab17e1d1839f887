"""Precision and recall against the published heads, from stored lists; and, with the hub, the real thing."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from interp.hooks.head_names import head_name
from interp.reproduce.published_ioi import ANY, PUBLISHED, compare_with_published, is_gpt2_small
from interp.results import load
from tests.tiny_models import tiny

STORED = json.loads((Path(__file__).parent / "gpt2_small_ioi_heads.json").read_text())


def as_heads(named: dict[str, list[str]]) -> dict[str, list[tuple[int, int]]]:
    return {
        role: [(int(name.split(".")[0]), int(name.split(".")[1])) for name in names] for role, names in named.items()
    }


def test_the_published_heads_are_those_of_the_published_code() -> None:
    assert {role: [head_name(head) for head in heads] for role, heads in PUBLISHED.items()} == STORED["published"]
    assert sum(map(len, PUBLISHED.values())) == len({head for heads in PUBLISHED.values() for head in heads}) == 26


@pytest.mark.parametrize("case", STORED["cases"], ids=lambda case: case["name"])
def test_known_lists_have_known_scores(case: dict[str, Any], tmp_path: Path) -> None:
    compared = compare_with_published(as_heads(case["found"]), tiny("gpt2"))
    for role, (precision, recall) in case["scores"].items():
        score = compared.values["score"].sel(**{"class": role}).data.tolist()
        assert score[1] == pytest.approx(recall), role
        if precision is None:
            assert math.isnan(score[0]), role
        else:
            assert score[0] == pytest.approx(precision), role
    assert load(compared.save(tmp_path / "compared")).equal(compared)
    table = compared.table()
    assert list(table["class"]) == [*PUBLISHED, ANY]
    assert compared.figure() is not None


def test_the_table_names_what_was_missed() -> None:
    table = compare_with_published({"name mover": [(9, 9), (9, 8)]}, tiny("gpt2")).table().set_index("class")
    assert table.loc["name mover", "found here"] == "9.9, 9.8"
    assert table.loc["name mover", "missed"] == "10.0, 9.6"
    assert table.loc["induction", "found here"] == "none"
    assert table.loc[ANY, "found here"] == "2 heads"


def test_only_gpt2_small_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from interp.reproduce import published_ioi

    sizes = {"n_layers": 12, "n_heads": 12, "d_model": 768, "d_vocab": 50257}
    small = SimpleNamespace(cfg=SimpleNamespace(**sizes))
    for name, expected in (("gpt2", True), ("openai-community/gpt2", True), ("gpt2-medium", False), ("other", False)):
        monkeypatch.setattr(published_ioi, "identity", lambda model, name=name: {"id": name})
        assert is_gpt2_small(small) is expected
    monkeypatch.setattr(published_ioi, "identity", lambda model: {"id": "gpt2"})
    assert not is_gpt2_small(SimpleNamespace(cfg=SimpleNamespace(**sizes | {"n_layers": 6})))


@pytest.mark.hub
@pytest.mark.slow
def test_the_heads_of_gpt2_small(tmp_path: Path) -> None:
    """The real model, in full: the heads that everybody finds have to be there, and most of those found published."""
    import interp
    from interp.reproduce import run_ioi
    from interp.reproduce.ioi_settings import IoiSettings
    from interp.runs import open_run
    from interp.viz import Report

    report = Report("GPT-2 small")
    with open_run("ioi", {"model": "gpt2"}, root=tmp_path) as run:
        run_ioi(interp.load_model("gpt2"), IoiSettings(), run, report)
        results = run.results()
    found = results["ioi-roles"].roles
    assert {(9, 9), (9, 6), (10, 0)} & set(found["name mover"])
    assert {(10, 7), (11, 10)} & set(found["negative name mover"])
    assert {(8, 6), (8, 10), (7, 9), (7, 3)} & set(found["S-inhibition"])
    precision, recall = results["ioi-published"].values["score"].sel(**{"class": ANY}).data.tolist()
    assert precision >= 0.4
    assert recall >= 0.4
    assert "beside the published heads" in report.html
