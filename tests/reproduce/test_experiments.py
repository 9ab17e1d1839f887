"""The experiments end to end: on a tiny model in seconds, and on the real one against what is known about it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from interp.cli import reproduce
from interp.reproduce import run_induction
from interp.reproduce.induction_heads import InductionSettings
from interp.runs import open_run
from interp.viz import Report, check_page, screenshot
from tests.tiny_models import tiny


def test_induction_on_a_tiny_model(tmp_path: Path) -> None:
    report = Report("tiny")
    settings = InductionSettings(n=3, length=8, views=1)
    with open_run("induction", {"n": 3}, root=tmp_path) as run:
        found = run_induction(tiny("llama"), settings, run, report)
    table = found.table()
    assert list(table.what[:2]) == ["loss, first copy", "loss, second copy"]
    assert ((table.low <= table.value) & (table.value <= table.high)).all()
    assert set(run.results()) == {"induction-loss", "induction-scores"}
    page = report.html
    assert "Attention head scores" in page
    assert "random tokens" in page


def test_an_interrupted_experiment_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C between the steps: the second session computes only what the first one had not."""
    from interp import heads

    settings = InductionSettings(n=2, length=6, views=1)
    calls: list[str] = []
    whole = heads.repeated_loss

    def counted(*args, **options):
        calls.append("loss")
        return whole(*args, **options)

    def interrupted(*args, **options):
        raise KeyboardInterrupt

    def session() -> None:
        with open_run("induction", {"n": 2}, root=tmp_path) as run:
            run_induction(tiny("llama"), settings, run, Report("tiny"))

    monkeypatch.setattr(heads, "repeated_loss", counted, raising=False)
    with monkeypatch.context() as patch:
        patch.setattr(heads, "scores", interrupted, raising=False)
        with pytest.raises(KeyboardInterrupt):
            session()
    session()
    assert calls == ["loss"]
    assert len(list((tmp_path / "induction").iterdir())) == 1


@pytest.fixture(scope="module")
def quick_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One quick run of both experiments on the real model, through the command."""
    root = tmp_path_factory.mktemp("runs")
    assert reproduce.main(reproduce.All(quick=True, out=str(root)), Console(quiet=True)) == 0
    (run,) = (root / "reproduce-all").iterdir()
    return run


@pytest.mark.slow
def test_known_facts_about_the_real_model(quick_run: Path) -> None:
    from interp.results import load

    loss = load(quick_run / "results" / "induction-loss").values["copies"].data
    assert 13.5 < loss[0] < 15.0
    assert 2.3 < loss[1] < 4.0
    scores = load(quick_run / "results" / "induction-scores").sel(kind="induction").values["score"].data
    assert scores[18, 6] > 0.8
    assert (scores >= 0.4).sum() == 8
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
