"""The command `interp reproduce ioi` on the real model, against what is known about it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from interp.cli import reproduce
from interp.viz import check_page, screenshot


@pytest.fixture(scope="module")
def quick_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One quick run on the real model, through the command."""
    root = tmp_path_factory.mktemp("runs")
    assert reproduce.main(reproduce.Ioi(quick=True, out=str(root)), Console(quiet=True)) == 0
    (run,) = (root / "reproduce-ioi").iterdir()
    return run


@pytest.mark.slow
def test_known_facts_about_the_real_model(quick_run: Path) -> None:
    from interp.results import load

    behaviour = load(quick_run / "results" / "ioi-behaviour").sel(side="clean")
    assert 4.2 < behaviour.sel(measure="logit_difference").values["mean"].data < 6.0
    heads = load(quick_run / "results" / "ioi-heads").to_frame().sort_values("value")
    assert [(row.layer, row.head) for row in heads.tail(3).itertuples()][::-1] == [(23, 3), (29, 1), (23, 0)]
    assert tuple(heads.iloc[0][["layer", "head"]]) == (24, 4)
    patched = load(quick_run / "results" / "ioi-map-heads").top(1)
    assert (patched.layer[0], patched["head"][0]) == (23, 3)


@pytest.mark.slow
@pytest.mark.browser
def test_the_report_renders_without_a_network(quick_run: Path) -> None:
    page = check_page(quick_run / "report.html")
    assert not page.errors
    assert not page.outside
    picture = screenshot(quick_run / "report.html", quick_run / "report.png")
    assert picture.stat().st_size > 50_000


@pytest.mark.slow
def test_every_number_carries_its_source(quick_run: Path) -> None:
    for path in (quick_run / "results").glob("*/result.json"):
        source = json.loads(path.read_text())["provenance"]
        assert source["model"]["weights_sha256"]
        assert source["environment"]
