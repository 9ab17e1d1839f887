"""The command `interp reproduce ioi` on SmolLM2, against what is known about this model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from interp.cli import reproduce
from interp.reproduce.ioi_role_table import HeadRoles
from interp.reproduce.ioi_roles import POSITIVE
from interp.results import load
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
    behaviour = load(quick_run / "results" / "ioi-behaviour").sel(side="clean")
    assert 4.2 < behaviour.sel(measure="logit_difference").values["mean"].data < 6.0
    heads = load(quick_run / "results" / "ioi-heads").to_frame().sort_values("value")
    assert [(row.layer, row.head) for row in heads.tail(3).itertuples()][::-1] == [(23, 3), (29, 1), (23, 0)]
    assert tuple(heads.iloc[0][["layer", "head"]]) == (24, 4)
    patched = load(quick_run / "results" / "ioi-map-heads").top(1)
    assert (patched.layer[0], patched["head"][0]) == (23, 3)


@pytest.mark.slow
def test_the_chain_of_heads_is_found(quick_run: Path) -> None:
    """Every link with the numbers that make it one: it is the same chain as with four times the prompts."""
    roles = load(quick_run / "results" / "ioi-roles")
    assert isinstance(roles, HeadRoles)
    labels = roles.labels
    assert labels["subject suppressor"] == ((23, 3),)  # the largest direct effect, and it reads the subject
    assert labels["name mover"][0] == (23, 0)
    assert labels["negative name mover"] == ((24, 4),)
    assert labels["S-inhibition"][0] == (20, 0)
    assert labels["induction"][0] == (17, 4)
    assert set(labels["duplicate token"]) >= {(8, 1), (5, 6)}
    assert labels["previous token"] == ((16, 0),)
    assert roles.roles[POSITIVE][-1] == (23, 3)
    # Heads with large effects that move no name: they read the end itself.
    unassigned = roles.unassigned().set_index("head")
    assert {"29.1", "29.0"} <= set(unassigned.index)
    assert roles.sel(head="29.1", measure="end to end").values["value"].data > 0.4
    assert load(quick_run / "results" / "ioi-paths-values").settings["receivers"][-1] == "20.0.v"
    assert not (quick_run / "results" / "ioi-published").exists()


@pytest.mark.slow
def test_without_the_name_movers_the_negative_one_writes_the_answer(quick_run: Path) -> None:
    found = load(quick_run / "results" / "ioi-backups").values
    before, after = found["total"].data.tolist()
    assert after < before - 1.2  # less than the movers' own effects: others make up for a part
    assert found["before"].data[24, 4] < -0.5
    assert found["after_low"].data[24, 4] > 0.2


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
